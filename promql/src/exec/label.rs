//! `label_replace` and `label_join`: other labels, same points.

use model::labels::{Labels, METRIC_NAME};
use model::pattern::Pattern;

use super::{BoxOperator, Context, Lazy, drain, open, unique};
use crate::error::{Error, Fault};
use crate::plan::{Node, NodeKind};
use crate::value::{Column, Steps};

fn label_name(node: &Node) -> Result<&str, String> {
    match &node.kind {
        NodeKind::Text(text) => text.label_name().map_err(|(_, plain)| plain),
        _ => Err(String::new()),
    }
}

/// Changes the labels of every series; those that become the same are joined into one.
fn relabeled<'q>(
    ctx: &'q Context<'q>,
    child: &'q Node,
    steps: Steps,
    destination: &'q str,
    change: impl Fn(&Labels) -> Option<Labels> + 'q,
) -> Result<BoxOperator<'q>, Error> {
    let mut operator = open(ctx, child, steps)?;
    Ok(Box::new(Lazy::new(move || {
        let mut columns: Vec<Column> = drain(operator.as_mut())?;
        for column in &mut columns {
            if let Some(labels) = change(&column.labels) {
                column.labels = labels;
                if destination == METRIC_NAME {
                    column.drop_name = false;
                }
            }
        }
        unique::merged(columns)
    })))
}

fn destination_label<'n>(function: &'static str, node: &'n Node) -> Result<&'n str, Error> {
    label_name(node).map_err(|name| Fault::DestinationLabel { function, name }.into())
}

/// `label_replace(v, destination, replacement, source, expression)`
pub(super) fn replace<'q>(ctx: &'q Context<'q>, args: &'q [Node], steps: Steps) -> Result<BoxOperator<'q>, Error> {
    let [child, destination, replacement, source, expression] = args else {
        return Err(Fault::Unsupported("label_replace needs five arguments").into());
    };
    let (replacement, source, expression) = (replacement.text(), source.text(), expression.text());
    let function = "label_replace";
    let pattern = Pattern::new(expression)
        .map_err(|reason| Error::fault(Fault::Pattern { function, expression: expression.to_owned(), reason }))?;
    let destination = destination_label(function, destination)?;
    relabeled(ctx, child, steps, destination, move |labels| {
        let replaced = pattern.expand(labels.get(source).unwrap_or_default(), replacement)?;
        let mut builder = labels.to_builder();
        builder.set(destination, &replaced);
        Some(builder.build())
    })
}

/// `label_join(v, destination, separator, source...)`
pub(super) fn join<'q>(ctx: &'q Context<'q>, args: &'q [Node], steps: Steps) -> Result<BoxOperator<'q>, Error> {
    let [child, destination, separator, sources @ ..] = args else {
        return Err(Fault::Unsupported("label_join needs three arguments").into());
    };
    let separator = separator.text();
    let function = "label_join";
    let named = |node| label_name(node).map_err(|name| Fault::SourceLabel { function, name });
    let sources: Vec<&str> = sources.iter().map(named).collect::<Result<_, _>>()?;
    let destination = destination_label(function, destination)?;
    relabeled(ctx, child, steps, destination, move |labels| {
        let values: Vec<&str> = sources.iter().map(|name| labels.get(name).unwrap_or_default()).collect();
        let mut builder = labels.to_builder();
        builder.set(destination, &values.join(separator));
        Some(builder.build())
    })
}
