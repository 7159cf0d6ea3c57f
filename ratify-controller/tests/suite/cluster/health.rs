//! When a controller is ready: every kind was listed, every resource tried once, and what a tenant
//! breaks does not count.

use super::{
    replica::{ACCOUNT, Replica, install},
    server::{ADMIN, Cluster, ClusterOptions, User},
};

/// Nothing of this can be built.
const BROKEN: &str = "
apiVersion: config.ratify.deislabs.io/v1beta1
kind: NamespacedVerifier
metadata: {name: broken, namespace: default}
spec: {name: nothing, artifactTypes: '*'}
---
apiVersion: config.ratify.deislabs.io/v1beta1
kind: NamespacedStore
metadata: {name: broken, namespace: default}
spec: {name: nothing}
---
apiVersion: config.ratify.deislabs.io/v1beta1
kind: Store
metadata: {name: broken}
spec: {name: nothing, parameters: {a: b}}
";

#[tokio::test]
async fn a_controller_is_ready_once_everything_was_listed_and_tried_and_what_is_broken_keeps_it_so()
{
    let users = vec![User::new("ratify", ACCOUNT, &["system:authenticated"])];
    let Some(mut cluster) = Cluster::start(ClusterOptions { users }).await else { return };
    // Neither definitions nor rights: alive, and not ready.
    let replica = Replica::start(&cluster, "ratify", &[]);
    replica.until_said("cannot watch verifiers").await;
    assert_eq!(replica.probe("/healthz").await, (200, "ok".into()));
    let (code, told) = replica.probe("/readyz").await;
    assert!(code == 500 && told.contains("[-]resources failed: no kind"), "{told}");
    assert!(told.contains("[+]tls ok: plain HTTP"), "{told}");
    assert_eq!(replica.probe("/readyz/resources").await.0, 500);

    install(&cluster, true).await;
    cluster.apply(BROKEN).await;
    replica.until_ready().await;
    let again = Replica::start(&cluster, ADMIN, &[]);
    again.until_ready().await;
    again.until_said("nothing").await;
    // It stays so while the API server is away.
    cluster.stop_api_server();
    assert_eq!(again.probe("/readyz").await, (200, "ok".into()));
    cluster.start_api_server().await;
}
