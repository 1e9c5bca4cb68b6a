use super::*;

fn port(name: &str, ty: &str, dims: &[Option<u32>], below: Option<u64>) -> ModelPort {
    ModelPort {
        name: name.into(),
        ty: ty.into(),
        dims: dims.to_vec(),
        symbols: Vec::new(),
        below,
    }
}

/// A decoder with a cache.
fn decoder() -> Vec<ModelPort> {
    let past = [None, Some(3), None, Some(64)];
    vec![
        port("input_ids", "i64", &[None, None], Some(100)),
        port("attention_mask", "i64", &[None, None], None),
        port("position_ids", "i64", &[None, None], None),
        port("past_key_values.0.key", "f32", &past, None),
    ]
}

fn i64s(tensor: &SampleTensor) -> Vec<i64> {
    let chunks = tensor.bytes.chunks(8);
    chunks
        .map(|c| i64::from_le_bytes(c.try_into().unwrap()))
        .collect()
}

#[test]
fn a_line_gives_tokens_and_the_rest_follows() {
    let sample = from_line("{\"input_ids\": [5, 6, 7]}", &decoder(), "f line 1").unwrap();
    let dims: Vec<&[u32]> = sample.iter().map(|tensor| tensor.dims.as_slice()).collect();
    let expected: [&[u32]; 4] = [&[1, 3], &[1, 3], &[1, 3], &[1, 3, 0, 64]];
    assert_eq!(dims, expected);
    assert_eq!(i64s(&sample[0]), [5, 6, 7]);
    assert_eq!(i64s(&sample[1]), [1, 1, 1]);
    assert_eq!(i64s(&sample[2]), [0, 1, 2]);
    let whole = from_line("{\"input_ids\": [[5, 6, 7]]}", &decoder(), "f line 1").unwrap();
    assert_eq!(whole, sample, "the first dimension may be written");
}

#[test]
fn what_does_not_fit_is_refused_by_file_line_and_input() {
    let image = [port("x", "f32", &[None, Some(2)], None)];
    let bytes = [port("x", "u8", &[Some(2)], None)];
    for (line, inputs, expected) in [
        ("text", &image[..], "f line 1 is no JSON object"),
        ("[1]", &image, "f line 1 is no JSON object"),
        (
            "{\"y\": 1}",
            &image,
            "the model has no input \"y\"; it has [\"x\"]",
        ),
        ("{}", &image, "input \"x\": the sample leaves it out"),
        (
            "{\"x\": [1, 2, 3]}",
            &image,
            "it has dimensions [1, 3], the model takes x f32 [any, 2]",
        ),
        (
            "{\"x\": [[1, 2], [3]]}",
            &image,
            "its lists are not all of one length",
        ),
        (
            "{\"x\": [1, [2]]}",
            &image,
            "its lists are not all of one length",
        ),
        (
            "{\"x\": [1, \"2\"]}",
            &image,
            "\"2\" is neither a number nor a list",
        ),
        (
            "{\"x\": [1, null]}",
            &image,
            "null is neither a number nor a list",
        ),
        ("{\"x\": [1, 256]}", &bytes, "256 is no u8"),
        ("{\"x\": [1, 0.5]}", &bytes, "0.5 is no u8"),
    ] {
        let error = from_line(line, inputs, "f line 1").unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        assert!(error.contains("f line 1"), "{error}");
    }
}

#[test]
fn samples_are_drawn_by_the_signature_and_again_alike() {
    let draw = |seed| {
        let source = Source::Random {
            count: 3,
            seed,
            length: 8,
        };
        make(&source, &decoder()).unwrap()
    };
    let samples = draw(1);
    assert_eq!(samples.len(), 3);
    for sample in &samples {
        let tokens = i64s(&sample[0]);
        assert!(tokens.len() == 8 && tokens.iter().all(|token| (0..100).contains(token)));
        assert_eq!(i64s(&sample[1]), [1; 8]);
        assert_eq!(sample[3].dims, [1, 3, 0, 64]);
    }
    assert_eq!(samples, draw(1));
    assert_ne!(samples, draw(2));
    assert_ne!(samples[0], samples[1]);

    let floats = [port("x", "f32", &[None, Some(4)], None)];
    let source = Source::Random {
        count: 1,
        seed: 1,
        length: 8,
    };
    let sample = make(&source, &floats).unwrap();
    let values = sample[0][0].bytes.chunks(4);
    let values = values.map(|c| f32::from_le_bytes(c.try_into().unwrap()));
    assert!(values.into_iter().all(|value| (-1.0..1.0).contains(&value)));
}

#[test]
fn what_cannot_be_drawn_asks_for_inputs() {
    for (inputs, expected) in [
        (
            port("x", "i64", &[None], None),
            "their range is not known; give --inputs",
        ),
        (
            port("x", "bf16", &[None], None),
            "nothing of type bf16 can be drawn",
        ),
        (
            port("x", "f32", &[None, Some(u32::MAX)], None),
            "more than 16777216 elements",
        ),
    ] {
        let source = Source::Random {
            count: 1,
            seed: 1,
            length: 8,
        };
        let error = make(&source, &[inputs]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }
    let none = Source::Random {
        count: 0,
        seed: 1,
        length: 8,
    };
    assert!(make(&none, &decoder()).is_err());
    let many = Source::Random {
        count: SAMPLES_MAX + 1,
        seed: 1,
        length: 8,
    };
    let error = make(&many, &decoder()).unwrap_err().to_string();
    assert!(error.contains("the bound is 4096"), "{error}");
}
