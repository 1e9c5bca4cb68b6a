//! Typed tables and one atomic batch over a key-value trait.
