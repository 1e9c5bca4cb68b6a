//! Small scripts, one rule each.
