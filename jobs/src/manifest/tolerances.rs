//! `verify.profile`: a manifest's tolerances from a tolerance profile, or stricter ones.

use super::bounds::field;
use super::{ModelSource, ProfileSource};
use crate::Error;
use crate::package::Dtype;
use crate::profile::VerifiedProfile;

/// What a profile has to say on a manifest's tolerances, if one is named.
#[derive(Clone, Copy)]
pub(super) struct Tolerances<'a>(Option<&'a VerifiedProfile>);

impl<'a> Tolerances<'a> {
    /// The profile behind a manifest's `verify.profile`, which must be for one of its models.
    pub(super) fn of(
        path: Option<&str>,
        models: &[ModelSource],
        read: Option<&'a VerifiedProfile>,
    ) -> Result<(Self, Option<ProfileSource>), Error> {
        let Some(path) = path else {
            return Ok((Self(None), None));
        };
        let refuse = |bound: String| field(KEY, format!("{path:?}"), bound);
        super::path(KEY, path)?;
        let profile = read.ok_or_else(|| {
            refuse("names a file that nobody has read: a manifest is not parsed without it".into())
        })?;
        let model = profile.profile.model.digest;
        if !models.iter().any(|declared| declared.digest == model) {
            return Err(refuse(format!(
                "is the profile of model {model}, which is none of the job's"
            )));
        }
        let source = ProfileSource {
            path: path.to_owned(),
            digest: profile.digest,
        };
        Ok((Self(Some(profile)), Some(source)))
    }

    /// The element type: the manifest's, which is the profile's if there is one.
    pub(super) fn dtype(self, given: Option<Dtype>) -> Result<Option<Dtype>, Error> {
        let Some(profile) = self.0 else {
            return Ok(given);
        };
        let measured = profile.profile.subject.dtype;
        match given {
            Some(other) if other != measured => {
                let name = |dtype: Dtype| format!("{dtype:?}").to_lowercase();
                let bound = format!("must be {}, which {KEY} measured", name(measured));
                Err(field("verify.dtype", name(other), bound))
            }
            _ => Ok(Some(measured)),
        }
    }

    /// An absolute tolerance, no looser than the profile's.
    pub(super) fn atol(self, given: Option<f64>) -> Result<Option<f64>, Error> {
        let measured = self.0.map(|profile| profile.profile.tolerance.atol);
        at_most("verify.atol", given, measured)
    }

    /// A relative tolerance, no looser than the profile's.
    pub(super) fn rtol(self, given: Option<f64>) -> Result<Option<f64>, Error> {
        let measured = self.0.map(|profile| profile.profile.tolerance.rtol);
        at_most("verify.rtol", given, measured)
    }

    /// A least cosine, no less than the profile's.
    pub(super) fn min_cosine(self, given: Option<f64>) -> Result<Option<f64>, Error> {
        let measured = self.0.map(|profile| profile.profile.tolerance.min_cosine);
        let (key, negative) = ("verify.min_cosine", |value: f64| -value);
        let stricter = at_most(key, given.map(negative), measured.map(negative));
        match (stricter, given, measured) {
            (Ok(value), ..) => Ok(value.map(negative)),
            (Err(_), Some(given), Some(measured)) => Err(looser(key, given, measured, "least")),
            (Err(error), ..) => Err(error),
        }
    }
}

const KEY: &str = "verify.profile";

fn at_most(key: &str, given: Option<f64>, measured: Option<f64>) -> Result<Option<f64>, Error> {
    match (given, measured) {
        // Written so that a NaN is refused.
        (Some(given), Some(measured)) if !matches!(given.partial_cmp(&measured), Some(order) if order.is_le()) => {
            Err(looser(key, given, measured, "most"))
        }
        (given, measured) => Ok(given.or(measured)),
    }
}

fn looser(key: &str, given: f64, measured: f64, end: &str) -> Error {
    let bound = format!("is looser than {KEY} allows: must be at {end} {measured:e}");
    field(key, given, bound)
}

#[cfg(test)]
mod tests {
    use crate::digest::Digest;
    use crate::manifest::Manifest;
    use crate::package::{Dtype, Package};
    use crate::profile::{VerifiedProfile, tests::profile};

    /// The golden manifest with other words for its comparator, and the profile of its model.
    fn read(verify: &str) -> (String, VerifiedProfile) {
        let text = include_str!("../../tests/manifest/embed.toml");
        let (before, rest) = text.split_once("[verify]").unwrap();
        let (_, after) = rest.split_once("\n[").unwrap();
        let text = format!(
            "{before}[verify]\nreplicas = 2\nmax_replicas = 5\ncomparator = \"numeric\"\n{verify}\n[{after}"
        );
        let mut profile = profile();
        profile.model.digest = Digest::from_bytes([0x17; 32]);
        let digest = profile.digest().unwrap();
        let key = crate::envelope::ClientKey::generate().unwrap();
        let signer = key.client_id();
        let verified = VerifiedProfile {
            digest,
            signer,
            profile,
        };
        (text, verified)
    }

    #[test]
    fn a_profile_gives_the_tolerances_that_a_manifest_leaves_out() {
        let (text, verified) = read("profile = \"p.json\"");
        assert_eq!(
            Manifest::profile_path(&text).unwrap().as_deref(),
            Some("p.json")
        );
        let manifest = Manifest::parse_with(&text, Some(&verified)).unwrap();
        let tolerance = &verified.profile.tolerance;
        let crate::compare::Comparator::Numeric {
            dtype,
            atol,
            rtol,
            min_cosine,
            ..
        } = manifest.comparator
        else {
            panic!("{:?}", manifest.comparator);
        };
        assert_eq!(dtype, Dtype::F32);
        assert_eq!(
            [atol, rtol, min_cosine],
            [tolerance.atol, tolerance.rtol, tolerance.min_cosine]
        );
        assert_eq!(manifest.profile.unwrap().digest, verified.digest);
        let (text, _) = read(
            "dtype = \"f32\"\natol = 0.0\nrtol = 1e-7\nmin_cosine = 1.0\nprofile = \"p.json\"",
        );
        let stricter = Manifest::parse_with(&text, Some(&verified)).unwrap();
        assert!(matches!(
            stricter.comparator,
            crate::compare::Comparator::Numeric {
                rtol: 1e-7,
                min_cosine: 1.0,
                ..
            }
        ));
    }

    #[test]
    fn looser_tolerances_and_other_models_are_refused_by_name() {
        for (verify, expected) in [
            (
                "rtol = 0.5",
                "verify.rtol = 0.5: is looser than verify.profile allows",
            ),
            ("atol = 1e-9", "verify.atol = 0.000000001: is looser"),
            ("rtol = nan", "verify.rtol = NaN: is looser"),
            (
                "min_cosine = 0.5",
                "verify.min_cosine = 0.5: is looser than verify.profile allows: must be at least",
            ),
            (
                "dtype = \"f16\"",
                "verify.dtype = f16: must be f32, which verify.profile measured",
            ),
        ] {
            let (text, verified) = read(&format!("profile = \"p.json\"\n{verify}"));
            let error = Manifest::parse_with(&text, Some(&verified))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
        let (text, mut verified) = read("profile = \"p.json\"");
        let unread = Manifest::parse(&text).unwrap_err().to_string();
        assert!(
            unread.contains("names a file that nobody has read"),
            "{unread}"
        );
        verified.profile.model.digest = Digest::of(b"another");
        let other = Manifest::parse_with(&text, Some(&verified)).unwrap_err();
        assert!(
            other.to_string().contains("which is none of the job's"),
            "{other}"
        );
        let exact = text.replace("\"numeric\"", "\"exact\"");
        let (_, verified) = read("");
        let error = Manifest::parse_with(&exact, Some(&verified))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("verify.profile = \"p.json\": has no meaning with"),
            "{error}"
        );
    }

    #[test]
    fn a_package_names_the_profile_and_one_of_before_is_as_it_was() {
        let mut package = crate::package::tests::package();
        let before = String::from_utf8(package.to_canonical().unwrap()).unwrap();
        assert!(!before.contains("profile"), "{before}");
        package.profile = Some(Digest::of(b"profile"));
        let bytes = package.to_canonical().unwrap();
        assert_eq!(Package::from_canonical(&bytes).unwrap(), package);
        assert_ne!(bytes, before.as_bytes());
        // Nothing is spelled in one way only.
        let null = before.replacen("\"schema\":1", "\"profile\":null,\"schema\":1", 1);
        assert!(Package::from_canonical(null.as_bytes()).is_err());
    }
}
