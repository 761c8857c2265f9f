//! PromQL: parser, plan, operators, kernels, engine.
