//! What is taken from a path and a query: as axum takes it, but that what is malformed is answered with a problem.

use axum::extract::FromRequestParts;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The parameters of a path.
pub(super) struct Path<T>(pub(super) T);

/// A query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let taken = axum::extract::Path::from_request_parts(parts, state).await;
        let axum::extract::Path(taken) =
            taken.map_err(|rejection: PathRejection| Problem::invalid(rejection.body_text()))?;
        Ok(Self(taken))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let taken = axum::extract::Query::from_request_parts(parts, state).await;
        let axum::extract::Query(taken) =
            taken.map_err(|rejection: QueryRejection| Problem::invalid(rejection.body_text()))?;
        Ok(Self(taken))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::routing::get;
    use serde::Deserialize;
    use tower::Service as _;

    use super::*;

    #[derive(Deserialize)]
    struct Pages {
        limit: Option<usize>,
    }

    async fn asked(path: &str) -> (u16, String, String) {
        let take = |Path(name): Path<String>, Query(pages): Query<Pages>| async move {
            format!("{name} {:?}", pages.limit)
        };
        let request = Request::builder().uri(path).body(Body::empty());
        let mut router = Router::new().route("/{name}", get(take));
        let answer = router.call(request.unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let kind = parts.headers["content-type"].to_str().unwrap().to_owned();
        let body = to_bytes(body, 4096).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        (parts.status.as_u16(), kind, body)
    }

    #[tokio::test]
    async fn what_is_malformed_in_a_path_or_a_query_is_a_problem() {
        let (status, _, body) = asked("/one?limit=3").await;
        assert_eq!((status, body.as_str()), (200, "one Some(3)"));
        for (path, named) in [
            ("/one?limit=many", "limit"),
            ("/one?limit=-1", "limit"),
            ("/one?limit=1&limit=2", "limit"),
            ("/%ff", "UTF-8"),
        ] {
            let (status, kind, body) = asked(path).await;
            assert_eq!(
                (status, kind.as_str()),
                (400, "application/problem+json"),
                "{path}: {body}"
            );
            assert!(body.contains(named), "{path}: {body}");
        }
    }
}
