//! The same query with its time fixed by `@`: it must give the same at any evaluation time.

use crate::ast::{At, Expr, Shift};
use crate::function::{Apply, Clock, Window};

/// Sets `@ time` on all selectors that have none. `None` if the value depends on the evaluation time anyway.
pub(super) fn fix(mut expr: Expr, time: i64) -> Option<Expr> {
    let mut depends = false;
    visit(&mut expr, time, false, &mut depends);
    (!depends).then_some(expr)
}

fn set(shift: &mut Shift, time: i64) {
    shift.at.get_or_insert(At::Timestamp(time));
}

/// `fixed`: a subquery around it has its time fixed already.
fn visit(expr: &mut Expr, time: i64, fixed: bool, depends: &mut bool) {
    match expr {
        Expr::Number(_) | Expr::String(_) => {}
        Expr::Selector(selector) if !fixed => set(&mut selector.shift, time),
        Expr::Range(range) if !fixed => set(&mut range.selector.shift, time),
        Expr::Selector(_) | Expr::Range(_) => {}
        Expr::Subquery(subquery) => {
            if !fixed {
                set(&mut subquery.shift, time);
            }
            visit(&mut subquery.expr, time, true, depends);
        }
        Expr::Call(call) => {
            *depends |= !fixed
                && match call.function.apply {
                    Apply::Clock(Clock::Pi) => false,
                    Apply::Clock(_) | Apply::Calendar(_) | Apply::Timestamp => true,
                    Apply::Window(Window::PredictLinear) => true,
                    _ => false,
                };
            call.args.iter_mut().for_each(|arg| visit(arg, time, fixed, depends));
        }
        Expr::Aggregate(aggregate) => {
            visit(&mut aggregate.expr, time, fixed, depends);
            if let Some(param) = &mut aggregate.param {
                visit(param, time, fixed, depends);
            }
        }
        Expr::Binary(binary) => {
            visit(&mut binary.lhs, time, fixed, depends);
            visit(&mut binary.rhs, time, fixed, depends);
        }
        Expr::Unary(unary) => visit(&mut unary.expr, time, fixed, depends),
        Expr::Paren(paren) => visit(&mut paren.expr, time, fixed, depends),
    }
}
