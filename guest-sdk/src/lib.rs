//! What a job author imports.
