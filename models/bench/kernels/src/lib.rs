//! The integer kernels of `landfall-models` and their tests, without anything else: they build in
//! seconds for any processor.

#![allow(dead_code, reason = "their user is the engine")]

#[path = "../../../src/ops/product/mod.rs"]
mod product;
