//! Harness and whole-system tests.
