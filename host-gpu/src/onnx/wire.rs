//! Protobuf's wire format, read in place: nothing is allocated, nothing is trusted.

/// Longest encoding of a number, in bytes.
const VARINT_BYTES_MAX: u32 = 10;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// An integer, a boolean or an enumeration.
    Number(u64),
    /// Eight bytes: a double, say.
    Eight,
    /// Four bytes: a float, say.
    Four,
    /// Bytes, text, a message, or packed numbers.
    Bytes(&'a [u8]),
}

/// The fields of one message, in the order in which they stand. Ends after the first error.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Option<u64> {
        let (value, rest) = varint(self.rest)?;
        self.rest = rest;
        Some(value)
    }

    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let len = usize::try_from(len).ok()?;
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        // Readers in C++ cut a tag to 32 bits: what is more would be one field to them and another here.
        let tag = u64::from(u32::try_from(self.varint()?).ok()?);
        let number = tag >> 3;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Eight)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Four)?,
            // Groups were given up long ago, and nest without a length.
            _ => return None,
        };
        (number != 0).then_some((number, value))
    }
}

/// The last single-precision number that a message holds in this field.
pub(super) fn float(message: &[u8], number: u64) -> Option<f32> {
    let mut fields = Fields::of(message);
    let mut found = None;
    let mut before = fields.rest;
    while let Some(Ok(field)) = fields.next() {
        if field == (number, Value::Four) {
            let end = before.len().checked_sub(fields.rest.len())?;
            let bytes = before.get(end.checked_sub(4)?..end)?;
            found = bytes.try_into().ok().map(f32::from_le_bytes);
        }
        before = fields.rest;
    }
    found
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or_else(|| "it is no protobuf message".to_owned()))
    }
}

/// A number, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    let mut rest = bytes;
    for place in 0..VARINT_BYTES_MAX {
        let (byte, tail) = rest.split_first()?;
        rest = tail;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if place == VARINT_BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

/// The numbers of a repeated field: one, or many packed.
pub(super) fn numbers(value: Value<'_>, mut each: impl FnMut(u64)) -> Result<(), String> {
    match value {
        Value::Number(number) => each(number),
        Value::Bytes(mut packed) => {
            while !packed.is_empty() {
                let (number, rest) = varint(packed).ok_or("packed numbers are cut off")?;
                each(number);
                packed = rest;
            }
        }
        Value::Four | Value::Eight => return Err("a number has the wrong type".to_owned()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<Result<(u64, Value<'_>), String>> {
        Fields::of(bytes).collect()
    }

    #[test]
    fn fields_are_read_and_cut_off_ones_are_not() {
        assert_eq!(read(&[]), []);
        assert_eq!(read(&[0x08, 0x96, 0x01]), [Ok((1, Value::Number(150)))]);
        let last = [0xf8, 0xff, 0xff, 0xff, 0x0f, 7];
        assert_eq!(read(&last), [Ok((0x1fff_ffff, Value::Number(7)))]);
        let text = [0x12, 3, b'a', b'b', b'c', 0x1d, 0, 0, 0, 0];
        assert_eq!(
            read(&text),
            [Ok((2, Value::Bytes(b"abc"))), Ok((3, Value::Four))]
        );
        let no = || Err("it is no protobuf message".to_owned());
        for bad in [
            &[0x08][..],      // no value
            &[0x12, 4, b'a'], // longer than what is there
            &[
                0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ], // 2^64 - 1 bytes
            &[0x0b],          // a group
            &[0x00, 0x00],    // field 0
            &[0x88, 0x80, 0x80, 0x80, 0x10, 0x01], // field 1, hidden behind the 33rd bit
            &[0xff; 11],      // a number without end
            &[
                0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
            ], // 65 bits
        ] {
            assert_eq!(read(bad), [no()], "{bad:02x?}");
        }
    }

    #[test]
    fn a_float_is_read_where_it_stands_and_the_last_one_counts() {
        // Field 2 as 1.5 and as -2.0, field 3 as a number.
        let message = [
            0x15, 0, 0, 0xc0, 0x3f, 0x18, 7, 0x15, 0, 0, 0, 0xc0, 0x18, 9,
        ];
        assert_eq!(float(&message, 2), Some(-2.0));
        assert_eq!(float(&message, 3), None);
        assert_eq!(float(&message[..7], 2), Some(1.5));
        assert_eq!(float(&message[..3], 2), None);
    }

    #[test]
    fn repeated_numbers_come_packed_or_alone() {
        let all = |value| {
            let mut seen = Vec::new();
            numbers(value, |number| seen.push(number)).map(|()| seen)
        };
        assert_eq!(all(Value::Number(7)), Ok(vec![7]));
        assert_eq!(all(Value::Bytes(&[1, 0x80, 0x01])), Ok(vec![1, 128]));
        assert!(all(Value::Bytes(&[0x80])).is_err());
        assert!(all(Value::Four).is_err());
    }
}
