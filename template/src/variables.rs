//! Variables that a template reads and does not declare: faults that show when a rule is loaded rather than when its alert
//! fires. A declaration holds from where it is written to the end of the `if`, `with`, `range` or `define` it stands in
//! (Go's text/template, "Variables"). What Go lets pass until it runs, an assignment to an unknown variable, passes here.

use gotmpl::Template;
use gotmpl::parse::{BranchNode, Expr, ListNode, Node, PipeNode};

/// Where every template begins.
const ROOT: &str = "$";

/// The first undeclared variable of a template or of those it defines.
pub(crate) fn undefined(template: &Template) -> Option<String> {
    let mut bodies: Vec<&ListNode> = template.templates().iter().filter_map(|name| template.lookup(name)).collect();
    bodies.extend(template.lookup(template.name()));
    bodies.into_iter().find_map(|body| Scope { declared: vec![ROOT.to_owned()] }.list(body).err())
}

/// The variables that hold at a place, innermost last.
struct Scope {
    declared: Vec<String>,
}

impl Scope {
    fn list(&mut self, list: &ListNode) -> Result<(), String> {
        list.nodes.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &Node) -> Result<(), String> {
        match node {
            Node::List(list) => self.list(list),
            Node::Action(action) => self.pipe(&action.pipe),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => self.branch(branch),
            Node::Template(called) => called.pipe.as_ref().map_or(Ok(()), |pipe| self.pipe(pipe)),
            // A definition sees nothing of what is around it.
            Node::Define(defined) => Self { declared: vec![ROOT.to_owned()] }.list(&defined.body),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
        }
    }

    fn branch(&mut self, branch: &BranchNode) -> Result<(), String> {
        let outside = self.declared.len();
        self.pipe(&branch.pipe)?;
        self.list(&branch.body)?;
        if let Some(otherwise) = &branch.else_body {
            self.list(otherwise)?;
        }
        self.declared.truncate(outside);
        Ok(())
    }

    fn pipe(&mut self, pipe: &PipeNode) -> Result<(), String> {
        self.declared.extend(pipe.decl.iter().map(ToString::to_string));
        pipe.commands.iter().flat_map(|command| &command.args).try_for_each(|argument| self.expression(argument))
    }

    fn expression(&mut self, expression: &Expr) -> Result<(), String> {
        match expression {
            Expr::Variable(_, name, _) => self.known(name),
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Chain(_, inner, _) => self.expression(inner),
            _ => Ok(()),
        }
    }

    fn known(&self, name: &str) -> Result<(), String> {
        match self.declared.iter().any(|declared| declared == name) {
            true => Ok(()),
            false => Err(name.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn undeclared_variables_are_told() {
        let told = |text: &str| crate::check("t", text).err().map(|error| error.to_string()).unwrap_or_default();
        for fine in [
            "{{ $labels.job }} {{ $value | humanize }} {{ $externalURL }} {{ $.Value }} {{ $ }}",
            "{{ range $i, $s := query \"up\" }}{{ $i }}{{ $s.Value }}{{ else }}{{ $i }}{{ end }}",
            "{{ with $x := 1 }}{{ $x }}{{ else }}{{ $x }}{{ end }}{{ $y := 2 }}{{ if true }}{{ $y = 3 }}{{ end }}{{ $y }}",
            "{{ define \"d\" }}{{ $.job }}{{ $in := . }}{{ $in }}{{ end }}{{ template \"d\" $labels }}",
        ] {
            assert_eq!(told(fine), "", "{fine}");
        }
        for (wrong, variable) in [
            ("{{ $labl.job }}", "$labl"),
            ("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "$x"),
            ("{{ printf \"%s\" (humanize $valu) }}", "$valu"),
            ("{{ define \"d\" }}{{ $labels.job }}{{ end }}", "$labels"),
        ] {
            assert!(told(wrong).contains(&format!("undefined variable {variable:?}")), "{wrong}: {}", told(wrong));
        }
    }
}
