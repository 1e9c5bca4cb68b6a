//! Puts tensors through the model `case`: an item is a list of named tensors, its output the list of
//! what the model answered, in the model's order.
//!
//! A list is written with all numbers little-endian: how many tensors (u32); then for each the length
//! of its name (u16) and the name; its element type (u8, in the order of [`TYPES`]); how many
//! dimensions (u8) and each of them (u32); how many bytes of elements (u32) and those.

use assay::{Dtype, Error, Tensor, model};

/// The name of the model in the manifest.
const MODEL: &str = "case";

/// Element types by their number.
const TYPES: [Dtype; 7] = [
    Dtype::F16,
    Dtype::F32,
    Dtype::F64,
    Dtype::Bf16,
    Dtype::U8,
    Dtype::I32,
    Dtype::I64,
];

fn run(item: &[u8]) -> Result<Vec<u8>, Error> {
    let inputs = decode(item).ok_or_else(|| Error::bad_input("the item is no list of tensors"))?;
    let inputs: Vec<(String, Tensor)> = inputs
        .into_iter()
        .map(|(name, dtype, dims, bytes)| {
            Tensor::from_bytes(dtype, &dims, bytes).map(|tensor| (name, tensor))
        })
        .collect::<Result<_, _>>()?;
    let borrowed = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let answer = model(MODEL)?.run(borrowed)?;
    let names: Vec<String> = answer.names().map(str::to_owned).collect();
    let mut outputs = Vec::with_capacity(names.len());
    for name in names {
        let tensor = answer.tensor(&name)?;
        outputs.push((name, tensor));
    }
    encode(&outputs).ok_or_else(|| Error::Failed("an output does not fit the encoding".to_owned()))
}

type Raw = (String, Dtype, Vec<usize>, Vec<u8>);

/// The tensors of an item, if it is a list of them and nothing else.
fn decode(mut bytes: &[u8]) -> Option<Vec<Raw>> {
    let count = u32::from_le_bytes(take(&mut bytes)?);
    let mut tensors = Vec::new();
    for _ in 0..count {
        let length = usize::from(u16::from_le_bytes(take(&mut bytes)?));
        let name = std::str::from_utf8(cut(&mut bytes, length)?)
            .ok()?
            .to_owned();
        let [ty, rank] = take(&mut bytes)?;
        let dtype = *TYPES.get(usize::from(ty))?;
        let mut dims = Vec::new();
        for _ in 0..rank {
            dims.push(usize::try_from(u32::from_le_bytes(take(&mut bytes)?)).ok()?);
        }
        let length = usize::try_from(u32::from_le_bytes(take(&mut bytes)?)).ok()?;
        tensors.push((name, dtype, dims, cut(&mut bytes, length)?.to_vec()));
    }
    bytes.is_empty().then_some(tensors)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn cut<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

/// The list, if its numbers fit their fields.
fn encode(tensors: &[(String, Tensor)]) -> Option<Vec<u8>> {
    let mut bytes = u32::try_from(tensors.len()).ok()?.to_le_bytes().to_vec();
    for (name, tensor) in tensors {
        bytes.extend(u16::try_from(name.len()).ok()?.to_le_bytes());
        bytes.extend(name.as_bytes());
        let ty = TYPES.iter().position(|ty| *ty == tensor.dtype())?;
        bytes.push(u8::try_from(ty).ok()?);
        bytes.push(u8::try_from(tensor.dims().len()).ok()?);
        bytes.extend(tensor.dims().iter().flat_map(|dim| dim.to_le_bytes()));
        bytes.extend(u32::try_from(tensor.bytes().len()).ok()?.to_le_bytes());
        bytes.extend(tensor.bytes());
    }
    Some(bytes)
}

assay::job!(each run);

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use assay::Tensor;

    #[test]
    fn a_list_comes_back_as_it_went_and_half_a_list_does_not() {
        let tensors = [
            (
                "x".to_owned(),
                Tensor::from_slice(&[1.5_f32, -2.0], &[2, 1]).unwrap(),
            ),
            ("".to_owned(), Tensor::from_slice(&[7_i64], &[]).unwrap()),
        ];
        let bytes = encode(&tensors).unwrap();
        let raw = decode(&bytes).unwrap();
        assert_eq!(raw.len(), 2);
        for ((name, tensor), (other, dtype, dims, bytes)) in tensors.iter().zip(raw) {
            assert_eq!(
                (name, tensor),
                (&other, &Tensor::from_bytes(dtype, &dims, bytes).unwrap())
            );
        }
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_none(), "{end}");
        }
    }
}
