//! Bringing an assignment's blobs here, and checking that they are what they are said to be.

use std::path::PathBuf;
use std::time::Duration;

use jobs::digest::BlobRef;
use jobs::ids::AggregatorId;
use jobs::{component, items};
use runtime::{LocalBlob, LocalModel};
use tokio::time::timeout;

use crate::Refused;
use crate::admission::Admitted;
use crate::cache::Pins;
use crate::error::blocking;
use crate::shared::Shared;

/// The longest that fetching an assignment's blobs may take. An aggregator gives up earlier; what
/// was fetched until then is there when it asks again.
const FETCH_WALL: Duration = Duration::from_secs(600);

/// Everything that an execution reads.
#[derive(Debug)]
pub(crate) struct Materials {
    pub(crate) component: LocalBlob,
    pub(crate) models: Vec<LocalModel>,
    /// The shard's encoded items.
    pub(crate) items: Vec<u8>,
    /// Keep the files until the execution is over.
    pub(crate) pins: Vec<Pins>,
}

/// Fetches what the assignment needs from the aggregator that gave it.
pub(crate) async fn fetch(shared: &Shared, admitted: &Admitted) -> Result<Materials, Refused> {
    let fetched = timeout(FETCH_WALL, fetch_all(shared, admitted)).await;
    fetched.unwrap_or_else(|_| {
        let seconds = FETCH_WALL.as_secs();
        Err(Refused::Blob {
            what: "blobs".into(),
            reason: format!("not fetched within {seconds} s"),
        })
    })
}

async fn fetch_all(shared: &Shared, admitted: &Admitted) -> Result<Materials, Refused> {
    let (assignment, package) = (&admitted.assignment, &admitted.package);
    let from = assignment.aggregator;
    let models = package.models.iter().map(|model| model.blob);
    let needed = [package.component, assignment.input]
        .into_iter()
        .chain(models);
    let pins = shared.cache.pin(needed);

    let path = one(shared, from, "component", package.component).await?;
    check_component(shared, package.component).await?;
    let component = LocalBlob {
        path,
        blob: package.component,
    };
    one(shared, from, "input", assignment.input).await?;
    let items = read_items(shared, assignment.input, assignment.items).await?;
    let mut models = Vec::new();
    for model in &package.models {
        let path = one(shared, from, &model.name, model.blob).await?;
        models.push(LocalModel {
            name: model.name.clone(),
            file: LocalBlob {
                path,
                blob: model.blob,
            },
        });
    }
    Ok(Materials {
        component,
        models,
        items,
        pins: vec![pins],
    })
}

async fn one(
    shared: &Shared,
    from: AggregatorId,
    what: &str,
    blob: BlobRef,
) -> Result<PathBuf, Refused> {
    let fetched = shared.cache.fetch(&shared.client, from, blob).await;
    fetched.map_err(|error| match error {
        network::Error::QuotaFull { .. } | network::Error::DiskFull { .. } => Refused::CacheFull {
            what: what.to_owned(),
            reason: error.to_string(),
        },
        error => Refused::Blob {
            what: what.to_owned(),
            reason: error.to_string(),
        },
    })
}

async fn check_component(shared: &Shared, blob: BlobRef) -> Result<(), Refused> {
    if shared.cache.is_checked(&blob.digest) {
        return Ok(());
    }
    let cache = shared.cache.clone();
    let checked = blocking(move || Ok(component::check(&cache.store().read(&blob)?)));
    let checked = checked.await.map_err(|error| Refused::Blob {
        what: "component".into(),
        reason: error.to_string(),
    })?;
    checked.map_err(Refused::Component)?;
    shared.cache.note_checked(blob.digest);
    Ok(())
}

/// The input's bytes, which must be a list of as many items as the assignment says.
async fn read_items(shared: &Shared, blob: BlobRef, count: u32) -> Result<Vec<u8>, Refused> {
    let store = shared.cache.store().clone();
    let read = blocking(move || {
        let bytes = store.read(&blob)?;
        let found = items::decode(&bytes).map(|items| items.len());
        Ok((bytes, found))
    });
    let (bytes, found) = read.await.map_err(|error| Refused::Blob {
        what: "input".into(),
        reason: error.to_string(),
    })?;
    let found = found.map_err(|error| Refused::Input {
        reason: error.to_string(),
    })?;
    if found != count as usize {
        let reason = format!("{found} items, the assignment says {count}");
        return Err(Refused::Input { reason });
    }
    Ok(bytes)
}
