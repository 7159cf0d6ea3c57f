//! What an artifact is that is listed by a type which says nothing.
//!
//! cosign 2.6 lists an artifact by the type of its configuration, also where that is the empty one and the
//! artifact says itself what it is (distribution specification, "Listing Referrers", would have that listed).

use futures_util::future::join_all;
use ratify_core::{Context, ErrorCode, Reference, Referrer, Result, media_type};

use super::{OrasStore, of_store};

/// So many manifests of one list are read for their types.
const MAX_READ: usize = 100;
const READ_AT_ONCE: usize = 8;

impl OrasStore {
    /// Gives what is listed by the type of the empty configuration the type that its own manifest says, which
    /// its digest proves. What cannot be read, now or later, keeps the type that is no artifact's.
    ///
    /// # Errors
    /// Where it cannot be told at the moment, or there are too many: what is not seen could be what should
    /// refuse.
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
                    Ok(manifest) => one.descriptor.artifact_type = manifest.artifact_type,
                    Err(error) if error.is_transient() => {
                        let digest = &one.descriptor.digest;
                        return Err(of_store(ErrorCode::ListReferrersFailure)
                            .with_detail(format!("could not tell what {digest} is"))
                            .passing(true)
                            .with_source(error));
                    }
                    Err(error) => tracing::debug!("not told what it is: {error}"),
                }
            }
        }
        Ok(())
    }
}
