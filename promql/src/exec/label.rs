//! `label_replace` and `label_join`: other labels, same points.

use model::labels::{Labels, METRIC_NAME, NameScheme};
use model::pattern::Pattern;

use super::{BoxOperator, Context, Lazy, drain, open, unique};
use crate::error::{Error, Fault};
use crate::plan::{Node, NodeKind};
use crate::value::{Column, Steps};

fn text(node: &Node) -> &str {
    match &node.kind {
        NodeKind::Text(text) => text,
        _ => "",
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

fn check_destination(function: &'static str, name: &str) -> Result<(), Error> {
    if NameScheme::Utf8.label_name_is_valid(name) {
        return Ok(());
    }
    Err(Fault::DestinationLabel { function, name: name.to_owned() }.into())
}

/// `label_replace(v, destination, replacement, source, expression)`
pub(super) fn replace<'q>(ctx: &'q Context<'q>, args: &'q [Node], steps: Steps) -> Result<BoxOperator<'q>, Error> {
    let [child, destination, replacement, source, expression] = args else {
        return Err(Fault::Unsupported("label_replace needs five arguments").into());
    };
    let (destination, replacement) = (text(destination), text(replacement));
    let (source, expression) = (text(source), text(expression));
    let function = "label_replace";
    let pattern = Pattern::new(expression)
        .map_err(|reason| Error::fault(Fault::Pattern { function, expression: expression.to_owned(), reason }))?;
    check_destination(function, destination)?;
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
    let (destination, separator) = (text(destination), text(separator));
    let function = "label_join";
    let sources: Vec<&str> = sources.iter().map(text).collect();
    if let Some(bad) = sources.iter().find(|name| !NameScheme::Utf8.label_name_is_valid(name)) {
        return Err(Fault::SourceLabel { function, name: (*bad).to_owned() }.into());
    }
    check_destination(function, destination)?;
    relabeled(ctx, child, steps, destination, move |labels| {
        let values: Vec<&str> = sources.iter().map(|name| labels.get(name).unwrap_or_default()).collect();
        let mut builder = labels.to_builder();
        builder.set(destination, &values.join(separator));
        Some(builder.build())
    })
}
