//! How jobs travel: the only crate that names libp2p.
