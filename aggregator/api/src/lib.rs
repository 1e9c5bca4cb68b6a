//! HTTP: types, client, server.
