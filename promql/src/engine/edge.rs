//! The engine's edge: room on the stack for what nests deeply, and no panic that gets past.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::ast::Expr;
use crate::error::{Error, Fault};
use crate::parser;

/// Expressions up to this height are evaluated on the stack of whoever asks; the usual 2 MiB are enough for them.
const HEIGHT_ON_CALLERS_STACK: usize = 50;
/// The stack for higher ones, up to [`parser::HEIGHT_MAX`]; only what is used of it takes memory.
const DEEP_STACK_BYTES: usize = 256 * 1024 * 1024;

/// Runs something on behalf of an expression. What it shares with others are counters and memory charges, which are
/// whole after a panic.
pub(super) fn guarded<T: Send>(expr: &Expr, run: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(|| with_stack(expr, run))).unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
}

/// Evaluation descends as the expression does: one that nests deeply gets a thread with a stack to match.
fn with_stack<T: Send>(expr: &Expr, run: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    if parser::height(expr) <= HEIGHT_ON_CALLERS_STACK {
        return run();
    }
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new()
            .name("deep-query".to_owned())
            .stack_size(DEEP_STACK_BYTES)
            .spawn_scoped(scope, run);
        match spawned.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(panicked(panic.as_ref())),
            Err(error) => Err(Fault::Other(format!("no thread for a deep expression: {error}")).into()),
        }
    })
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Error::Panicked(text.unwrap_or("the cause is not known").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_panic_becomes_an_error() {
        let high = vec!["1"; 100].join(" + ");
        for query in ["1", &high] {
            let expr = parser::parse(query).unwrap();
            let number: usize = query.len();
            let error = guarded::<()>(&expr, || panic!("number {number}")).unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string()),
                (ErrorKind::Execution, format!("unexpected error: number {number}"))
            );
        }
        let expr = parser::parse("1").unwrap();
        assert_eq!(guarded(&expr, || Ok(1)).unwrap(), 1);
    }
}
