//! PromQL of Prometheus 3.x: parser, plan, operators, kernels, engine.
//!
//! A query's way through this crate:
//!
//! ```text
//! text -> lexer (nom) -> tokens -> parser -> Expr -> check             syntax and types, with upstream's texts
//!      -> plan::build                                                  times fixed, step-invariant parts marked
//!      -> exec::open                                                   operators, one per node of the plan
//!      -> Series::read (model::storage) -> Columns -> kernels          a series is decoded once, all steps computed
//!      -> operators, batches of series                                 aggregations fold as series arrive
//!      -> QueryResult                                                  value, annotations, statistics
//! ```
//!
//! Nothing here reads a clock or knows a storage: time, cancellation and data are arguments.

#![forbid(unsafe_code)]

pub mod ast;
mod check;
pub mod error;
pub mod function;
mod lexer;
pub mod parser;
pub mod printer;
mod string_literal;
pub mod token;
