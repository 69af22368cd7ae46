//! Real processes of the server on the loopback: whole clusters, and what a user may do wrong.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test runs on the real world")]

mod bad_input;
mod configured;
mod demo;
mod limits;
mod operators;
mod splits;
mod starting;
mod story;
mod support;
