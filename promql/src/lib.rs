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

pub mod active;
pub mod ast;
mod cancel;
mod check;
pub mod edit;
pub mod engine;
pub mod error;
mod exec;
pub mod explain;
pub mod format;
pub mod function;
pub mod histogram;
mod json;
mod kernel;
mod lexer;
mod notes;
pub mod parser;
mod plan;
pub mod printer;
pub mod series_description;
pub mod spill;
mod string_literal;
pub mod testing;
pub mod token;
pub mod tree;
pub mod value;

pub use cancel::CancelToken;
pub use edit::{delete_matchers, set_matcher};
pub use engine::{Clock, Config, Engine, QueryOptions, QueryResult, Stats, Usage};
pub use error::{Error, ErrorKind, ParseError};
pub use explain::PlanNode;
pub use format::format;
pub use parser::{Options, parse, parse_selector, parse_with};
pub use printer::print;
pub use spill::{Spill, SpilledMatrix};
pub use tree::to_json;
pub use value::{MatrixSeries, QueryValue, VectorSample};
