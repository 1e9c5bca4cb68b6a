use super::*;
use crate::package::tests::package;

fn manifest() -> Manifest {
    let text = include_str!("../../tests/manifest/embed.toml");
    Manifest::parse(text).unwrap()
}

fn resolved() -> Resolved {
    Resolved {
        component: BlobRef::of(b"component"),
        // The digest that the golden manifest declares.
        models: vec![BlobRef {
            digest: Digest::from_bytes([0x17; 32]),
            size: 5,
        }],
        input: InputRef::of(&["one", "two"]).unwrap().0,
        nonce: [0xab; 16],
    }
}

#[test]
fn a_locked_manifest_is_a_package_that_survives_the_network() {
    let package = manifest().lock(resolved()).unwrap();
    assert_eq!(package.nonce, "ab".repeat(16));
    let bytes = package.to_canonical().unwrap();
    assert_eq!(Package::from_canonical(&bytes).unwrap(), package);
}

#[test]
fn a_model_must_be_the_declared_one() {
    let mut other = resolved();
    other.models = vec![BlobRef::of(b"another model")];
    let error = manifest().lock(other).unwrap_err().to_string();
    let actual = Digest::of(b"another model").to_string();
    assert!(
        error.contains("minilm") && error.contains(&actual),
        "{error}"
    );
    let mut fewer = resolved();
    fewer.models.clear();
    assert!(manifest().lock(fewer).is_err());
}

/// Breaks one field of a good package and expects an error about that key.
fn refused(key: &str, spoil: impl Fn(&mut Package)) {
    let mut bad = package();
    check_bounds(&bad).unwrap();
    spoil(&mut bad);
    match check_bounds(&bad) {
        Err(Error::Field { key: named, .. }) => assert_eq!(named, key),
        other => panic!("{key}: {other:?}"),
    }
}

/// So many models of this size.
fn models(count: u8, size: u64) -> Vec<ModelRef> {
    let model = |n: u8| ModelRef {
        name: format!("model-{n}"),
        blob: BlobRef {
            digest: Digest::of(&[n]),
            size,
        },
    };
    (0..count).map(model).collect()
}

#[test]
fn what_just_fits_the_bounds_is_a_package() {
    let mut largest = package();
    largest.models = models(4, MODEL_BYTES_MAX);
    largest.limits.wall_ms = WALL_MS_MIN;
    check_bounds(&largest).unwrap();
    assert_eq!(4 * MODEL_BYTES_MAX, MODELS_BYTES_MAX);
}

#[test]
fn bounds_that_only_files_or_a_peer_can_break() {
    refused("schema", |p| p.schema = 2);
    refused("name", |p| p.name = "../x".into());
    refused("component.size", |p| p.component.size = 0);
    refused("component.size", |p| p.component.size = 1 << 40);
    refused("model", |p| p.models = vec![p.models[0].clone(); 17]);
    refused("model[1].name", |p| {
        p.models = vec![p.models[0].clone(); 2];
    });
    refused("model[0].size", |p| p.models[0].blob.size = u64::MAX);
    refused("model[0].size", |p| {
        p.models[0].blob.size = MODEL_BYTES_MAX + 1;
    });
    refused("model", |p| p.models = models(5, MODEL_BYTES_MAX));
    refused("input.items", |p| p.input.items = 0);
    refused("input.items", |p| p.input.items = u32::MAX);
    refused("input.size", |p| p.input.blob.size = 0);
    refused("input.items_per_shard", |p| p.items_per_shard = 0);
    refused("input.items_per_shard", |p| {
        (p.items_per_shard, p.input.items) = (1, SHARDS_MAX + 1);
    });
    refused("limits.fuel", |p| p.limits.fuel = FUEL_MAX + 1);
    refused("limits.memory_bytes", |p| p.limits.memory_bytes = 0);
    refused("limits.wall_ms", |p| p.limits.wall_ms = p.deadline_ms + 1);
    refused("limits.wall_ms", |p| p.limits.wall_ms = WALL_MS_MIN - 1);
    refused("schedule.deadline_ms", |p| p.deadline_ms = u64::MAX);
    refused("limits.output_bytes_per_item", |p| {
        (p.limits.output_bytes_per_item, p.input.items) = (1 << 20, 1025);
    });
    refused("output.shape", |p| {
        let (dtype, shape) = (Dtype::F32, vec![u32::MAX; 3]);
        p.output = OutputFormat::Npy { dtype, shape };
    });
    refused("verify.replicas", |p| p.replication.replicas = 0);
    refused("verify.max_replicas", |p| p.replication.max_replicas = 13);
    refused("price.max", |p| p.max_price = Amount::ZERO);
    refused("price.max", |p| p.max_price = Amount(u128::MAX));
    for nonce in ["", "zz", &"AB".repeat(16), &"a".repeat(31)] {
        refused("nonce", |p| p.nonce = nonce.into());
    }
    for tolerance in [f64::NAN, f64::INFINITY, -1.0] {
        refused("verify.atol", |p| {
            p.comparator = Comparator::Numeric {
                dtype: Dtype::F32,
                atol: tolerance,
                rtol: 0.0,
                min_cosine: 0.0,
                top1: None,
                rms: None,
            };
        });
    }
}

#[test]
fn a_manifest_too_large_to_be_one_is_not_parsed() {
    let error = Manifest::parse(&"#".repeat(MANIFEST_BYTES_MAX + 1)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}
