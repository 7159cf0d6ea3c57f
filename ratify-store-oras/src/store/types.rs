//! What an artifact is that is listed by a type which says nothing.
//!
//! cosign 2.6 lists an artifact by the type of its configuration, also where that is the empty one and the
//! artifact says itself what it is (distribution specification, "Listing Referrers", would have that listed).

use std::{error::Error as StdError, sync::Arc};

use futures_util::future::join_all;
use ratify_core::{Context, Error, ErrorCode, Reference, Referrer, Result, media_type};

use super::{OrasStore, of_store};
use crate::OrasError;

/// So many manifests of one list are read for their types.
const MAX_READ: usize = 100;
const READ_AT_ONCE: usize = 8;

impl OrasStore {
    /// Gives what is listed by the type of the empty configuration the type that it had to be listed with,
    /// by its own manifest, which its digest proves. What is not there, and what says no type, stays as it is.
    ///
    /// # Errors
    /// Where it cannot be told, or there are too many: what is not seen could be what should refuse.
    pub(super) async fn name_types(
        &self,
        subject: &Reference,
        listed: &mut [Referrer],
        context: &Context,
    ) -> Result<()> {
        let is_unnamed =
            |one: &&mut Referrer| one.descriptor.artifact_type == media_type::OCI_EMPTY;
        let mut unnamed: Vec<&mut Referrer> = listed.iter_mut().filter(is_unnamed).collect();
        if unnamed.len() > MAX_READ {
            return Err(of_store(ErrorCode::ListReferrersFailure).with_detail(format!(
                "{} artifacts of {subject} are listed by the type of their empty configuration, and at most {MAX_READ} manifests are read for what they are: correct the list",
                unnamed.len()
            )));
        }
        for some in unnamed.chunks_mut(READ_AT_ONCE) {
            let read = some.iter().map(|one| self.read_manifest(subject, &one.descriptor, context));
            for (read, one) in join_all(read).await.into_iter().zip(some) {
                match read {
                    // Whoever judges this type is asked about it, and says what is wrong with it.
                    Ok(manifest) if manifest.listed_type().is_empty() => {}
                    Ok(manifest) => {
                        manifest.listed_type().clone_into(&mut one.descriptor.artifact_type);
                    }
                    Err(error) if is_absence(&error) => {
                        tracing::debug!("what is listed is not there: {error}");
                    }
                    Err(error) => {
                        let digest = &one.descriptor.digest;
                        return Err(of_store(ErrorCode::ListReferrersFailure)
                            .with_detail(format!("could not tell what {digest} is"))
                            .passing(error.is_transient())
                            .with_source(error));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether it is the registry's word that there is no such manifest.
fn is_absence(error: &Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if cause.downcast_ref::<Arc<OrasError>>().is_some_and(|cause| cause.is_not_found()) {
            return true;
        }
        next = cause.source();
    }
    false
}
