use super::*;

/// A file as Python would write it, from header text and data.
fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = [MAGIC, &[version, 0]].concat();
    if version == 1 {
        bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    } else {
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
    }
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

#[test]
fn rows_round_trip_in_every_shape() {
    for (dtype, shape, row) in [
        (Dtype::F16, vec![], 2),
        (Dtype::F32, vec![3], 12),
        (Dtype::F64, vec![2, 1, 5], 80),
    ] {
        for count in [0_u8, 1, 7] {
            let rows: Vec<Vec<u8>> = (0..count).map(|byte| vec![byte; row]).collect();
            let bytes = write(dtype, &shape, &rows).unwrap();
            assert_eq!(bytes.len() % ALIGNMENT, row * rows.len() % ALIGNMENT);
            assert_eq!(split_rows(&bytes).unwrap(), rows, "{dtype:?} {shape:?}");
        }
    }
}

#[test]
fn the_header_is_the_one_that_numpy_writes() {
    let bytes = write(Dtype::F32, &[2], &[[0; 8], [1; 8], [2; 8]]).unwrap();
    let (header, _) = split_header(&bytes).unwrap();
    let expected = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }";
    assert_eq!(header.trim_end(), expected);
    assert!(header.ends_with(" \n"));
    let scalars = write(Dtype::F64, &[], &[[0; 8]]).unwrap();
    let (header, _) = split_header(&scalars).unwrap();
    assert!(header.contains("'shape': (1,), }"), "{header}");
}

#[test]
fn headers_of_all_versions_and_orders_of_keys_are_read() {
    let header = r#"{"shape": (2, 3), 'fortran_order': False, 'descr': '|u1'}"#;
    for version in [1, 2, 3] {
        let rows = file(version, header, b"abcdef");
        assert_eq!(split_rows(&rows).unwrap(), [b"abc", b"def"]);
    }
}

#[test]
fn a_row_of_another_length_is_not_written() {
    assert!(write(Dtype::F32, &[2], &[[0; 7]]).is_err());
    assert!(write(Dtype::F32, &[u32::MAX, 2], &[[0; 8]]).is_err());
}

#[test]
fn what_is_no_plain_array_is_refused_by_reason() {
    let refused = |bytes: &[u8], words: &str| {
        let error = split_rows(bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    };
    let header = |descr: &str, order: &str, shape: &str| {
        format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}")
    };
    let array = |descr, order, shape, data: &[u8]| file(1, &header(descr, order, shape), data);
    refused(b"", "magic");
    refused(b"PK\x03\x04", "magic");
    refused(b"\x93NUMPY\x01", "cut off");
    refused(b"\x93NUMPY\x04\x00", "format 4.0");
    refused(b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "more than 10000");
    refused(b"\x93NUMPY\x01\x00\x10\x00{", "cut off");
    refused(&file(1, "[]", b""), "no dictionary");
    refused(&file(1, "{'x': 1}", b""), "unexpected key \"x\"");
    refused(&file(1, "{'descr': '<f4'}", b""), "lacks");
    refused(&file(1, "{'descr'}", b""), "without a value");
    refused(&array("'|O'", "False", "(1,)", &[0; 8]), "type \"|O\"");
    refused(&array("'>f4'", "False", "(1,)", &[0; 4]), "little-endian");
    refused(
        &array("[('a', '<f4')]", "False", "(1,)", &[0; 4]),
        "little-endian",
    );
    refused(&array("'<f4'", "True", "(1,)", &[0; 4]), "Fortran");
    refused(&array("'<f4'", "Maybe", "(1,)", &[0; 4]), "lacks");
    refused(&array("'<f4'", "False", "()", &[0; 4]), "no rows");
    refused(&array("'<f4'", "False", "(-1,)", &[]), "integers");
    refused(&array("'<f4'", "False", "(1, 0)", &[]), "not 1 to");
    refused(&array("'<f4'", "False", "(2,)", &[0; 4]), "says 8");
    refused(&array("'<f4'", "False", "(1,)", &[0; 5]), "says 4");
    refused(&array("'<f4'", "False", "(9999999,)", &[]), "rows, more");
    let huge = "(1, 4294967296, 4294967296, 4294967296)";
    refused(&array("'<f4'", "False", huge, &[]), "not 1 to");
    let deep = "(1, 1, 1, 1, 1, 1, 1, 1, 1, 1)";
    refused(&array("'<f4'", "False", deep, &[0; 4]), "axes");
}
