//! Who decides: the pure core and the driver that acts.
