//! How a function becomes the export of a component.

use std::sync::Once;

use crate::Error;

/// Makes a function the job: `job!(run)` for `fn(Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error>` over the items of a
/// shard, `job!(each run)` for `fn(&[u8]) -> Result<Vec<u8>, Error>` over one item. Write it once, in the crate that
/// is built as a component.
///
/// A function over a shard returns exactly one output per item, in the order of the items. A panic becomes a line in
/// the job's log and a trap, and fails the shard.
#[macro_export]
macro_rules! job {
    (each $run:path) => {
        $crate::job!(@ |items| $crate::each(items, $run));
    };
    ($run:path) => {
        $crate::job!(@ |items| $crate::whole(items, $run));
    };
    (@ |$items:ident| $answer:expr) => {
        const _: () = {
            #[allow(dead_code)] // outside a guest nothing is exported
            struct Job;

            impl $crate::bindings::Guest for Job {
                fn run(
                    $items: ::std::vec::Vec<::std::vec::Vec<u8>>,
                ) -> ::std::result::Result<::std::vec::Vec<::std::vec::Vec<u8>>, $crate::bindings::JobError> {
                    $answer.map_err(::std::convert::Into::into)
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::bindings::export_inference!(Job with_types_in $crate::bindings);
        };
    };
}

/// Runs a job over a shard: the body of `job!(run)`.
#[doc(hidden)]
pub fn whole(
    items: Vec<Vec<u8>>,
    run: impl FnOnce(Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error>,
) -> Result<Vec<Vec<u8>>, Error> {
    report_panics();
    let asked = items.len();
    let outputs = run(items)?;
    if outputs.len() == asked {
        Ok(outputs)
    } else {
        Err(Error::Failed(format!(
            "the job returned {} outputs for {asked} items",
            outputs.len()
        )))
    }
}

/// Runs a job over each item: the body of `job!(each run)`.
#[doc(hidden)]
pub fn each(
    items: Vec<Vec<u8>>,
    run: impl Fn(&[u8]) -> Result<Vec<u8>, Error>,
) -> Result<Vec<Vec<u8>>, Error> {
    whole(items, |items| items.iter().map(|item| run(item)).collect())
}

/// A trap says nothing of why; the log line that precedes it does.
fn report_panics() {
    static ONCE: Once = Once::new();
    if cfg!(target_arch = "wasm32") {
        ONCE.call_once(|| {
            std::panic::set_hook(Box::new(|panic| {
                crate::log::write(crate::log::Level::Error, &panic.to_string())
            }))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{each, whole};
    use crate::Error;

    fn items(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn each_answers_every_item_in_order() {
        let outputs = each(items(&["a", "bc"]), |item| Ok(item.to_ascii_uppercase()));
        assert_eq!(outputs, Ok(items(&["A", "BC"])));
    }

    #[test]
    fn the_first_error_fails_the_shard() {
        let outputs = each(items(&["a", "", "c"]), |item| {
            if item.is_empty() {
                Err(Error::bad_input("item 1 is empty"))
            } else {
                Ok(item.to_vec())
            }
        });
        assert_eq!(outputs, Err(Error::BadInput("item 1 is empty".into())));
    }

    #[test]
    fn one_output_per_item_or_none() {
        let outputs = whole(items(&["a", "b"]), |mut items| {
            items.pop();
            Ok(items)
        });
        assert_eq!(
            outputs,
            Err(Error::Failed(
                "the job returned 1 outputs for 2 items".into()
            ))
        );
    }

    #[test]
    fn the_macro_compiles_where_there_is_nothing_to_export_to() {
        fn over_a_shard(items: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
            Ok(items)
        }
        crate::job!(over_a_shard);
        assert_eq!(over_a_shard(items(&["a"])), Ok(items(&["a"])));
    }
}
