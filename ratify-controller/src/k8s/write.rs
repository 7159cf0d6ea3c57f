//! [`write()`]: a status is said against what others say of the same resource: replicas, v1 beside
//! us during an upgrade, and people.

use jiff::Timestamp;
use kube::{Client, api::Patch};
use ratify_core::ErrorCode;

use super::{
    build::{api, by_us, within},
    resource::Resource,
    status::{self, Standing},
};

/// How often a status is written against others.
const WRITES: usize = 5;

/// Says in a status how a resource stands, against the state that was seen: what others wrote
/// meanwhile is looked at first. True unless another try is needed; a missing right is told and
/// not tried again.
pub(super) async fn write(
    client: &Client,
    mut resource: Resource,
    standing: &Standing<'_>,
) -> bool {
    let key = resource.key.clone();
    let api = api(client, key.kind, &key.namespace);
    let mut why = String::new();
    for _ in 0..WRITES {
        let Some(body) = status::patch(&resource, standing, Timestamp::now()) else { return true };
        match within(api.patch_status(&key.name, &by_us(), &Patch::Merge(&body))).await {
            Ok(Ok(_)) => return true,
            // It was deleted meanwhile.
            Ok(Err(kube::Error::Api(answer))) if answer.code == 404 => return true,
            Ok(Err(kube::Error::Api(answer))) if answer.code == 403 => {
                tracing::error!(
                    "{}, unable to update the status of {key}: the right to patch {}/status is missing",
                    ErrorCode::GetClusterResourceFailure.value(),
                    key.kind.plural()
                );
                return true;
            }
            Ok(Err(kube::Error::Api(answer))) if answer.code == 409 => why = answer.message,
            Ok(Err(error)) => {
                why = error.to_string();
                break;
            }
            Err(late) => {
                why = late;
                break;
            }
        }
        match within(api.get(&key.name)).await {
            Ok(Ok(now)) => {
                let now = Resource::read(key.kind, now);
                if now.uid != resource.uid || now.generation != resource.generation {
                    // What is said of the present spec comes from its own try.
                    return true;
                }
                resource = now;
            }
            Ok(Err(kube::Error::Api(answer))) if answer.code == 404 => return true,
            Ok(Err(error)) => why = error.to_string(),
            Err(late) => why = late,
        }
    }
    tracing::error!(
        "unable to update the status of {key}: {}",
        ratify_core::capped_line(&why, 300)
    );
    false
}
