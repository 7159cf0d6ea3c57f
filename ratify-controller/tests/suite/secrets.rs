//! Secrets for registries from a real API server, read with the rights of a role that names one
//! namespace: both types, what is not there, what may not be read, and what changes.

// What a test's helper cannot do fails the test.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use ratify_controller::k8s::secrets::KubeSecrets;
use ratify_store_oras::{
    AuthProvider, Connections, Credential,
    auth::{self, Asked, Environment, RegistryHost},
};
use serde_json::{Value, json};

use crate::cluster::server::{Cluster, ClusterOptions, User};

const ARTIFACT: &str = "old.example.com/app:1";

/// `get`, and nothing else, in the namespace `team`, and nowhere else.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: team}
rules: [{apiGroups: [''], resources: [secrets, serviceaccounts], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: 'system:serviceaccount:ratify:ratify'}]
---
apiVersion: v1
kind: Secret
metadata: {name: old, namespace: team}
type: kubernetes.io/dockercfg
stringData: {.dockercfg: '{"old.example.com":{"username":"user","password":"of-old"}}'}
---
apiVersion: v1
kind: Secret
metadata: {name: foreign, namespace: default}
type: kubernetes.io/dockercfg
stringData: {.dockercfg: '{"old.example.com":{"username":"user","password":"foreign"}}'}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: team}
imagePullSecrets: [{name: gone}, {name: old}]
"#;

async fn environment(cluster: &Cluster) -> Environment {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let file = Kubeconfig::read_from(cluster.kubeconfig("ratify")).unwrap();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(file, &options).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    Environment {
        secrets: Some(Arc::new(KubeSecrets::new(client))),
        ratify_namespace: Some("ratify".into()),
        ..Environment::default()
    }
}

fn provider(config: &Value, environment: &Environment) -> Arc<dyn AuthProvider> {
    auth::from_config(config.as_object(), environment, &Connections::default()).unwrap()
}

/// The password for a host, or the error's text.
async fn password(provider: &dyn AuthProvider, host: &str) -> String {
    let host = RegistryHost::parse(host).unwrap();
    let asked = Asked { host: &host, repository: "app", artifact: ARTIFACT, give_up_at: None };
    match provider.credential(&asked).await.map(|granted| granted.credential) {
        Ok(Credential::Basic { password, .. }) => password.reveal().to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn credentials_come_from_the_secrets_that_the_role_may_get() {
    let users = vec![User::new("ratify", "system:serviceaccount:ratify:ratify", &[])];
    let Some(mut cluster) = Cluster::start(ClusterOptions { users }).await else { return };
    cluster.apply(OBJECTS).await;
    let create = ["create", "secret", "docker-registry", "new", "-n", "team"];
    let login = ["--docker-server=new.example.com", "--docker-username=user"];
    let first = [&create[..], &login, &["--docker-password=first"]].concat();
    cluster.must(&first).await;

    let everywhere = environment(&cluster).await;
    let of_team = everywhere.clone().for_namespace("team");
    let listed = json!({"name": "k8Secrets", "secrets": [{"secretName": "new"}]});
    let own = provider(&listed, &of_team);
    let new = RegistryHost::parse("new.example.com").unwrap();
    assert_eq!(password(&*own, "new.example.com").await, "first");
    assert_eq!(password(&*own, "old.example.com").await, "of-old");

    let foreign = json!({"name": "k8Secrets",
        "secrets": [{"secretName": "foreign", "namespace": "default"}]});
    let refused = auth::from_config(foreign.as_object(), &of_team, &Connections::default());
    let refused = refused.err().unwrap().to_string();
    insta::assert_snapshot!(refused, @"AUTH_DENIED: a resource of namespace team may not read the secret foreign of namespace default: only secrets of its own namespace");
    let forbidden = password(&*provider(&foreign, &everywhere), "old.example.com").await;
    insta::assert_snapshot!(forbidden, @"GET_CLUSTER_RESOURCE_FAILURE: failed to pull secret foreign from cluster.: secrets default/foreign may not be read: the service account of Ratify needs the verb get on secrets in namespace default");

    cluster.must(&["delete", "secret", "new", "-n", "team"]).await;
    let second = [&create[..], &login, &["--docker-password=second"]].concat();
    cluster.must(&second).await;
    own.forget(&new, Instant::now());
    assert_eq!(password(&*own, "new.example.com").await, "second");

    cluster.stop_api_server();
    own.forget(&new, Instant::now());
    let away = password(&*own, "new.example.com").await;
    assert!(
        away.starts_with("GET_CLUSTER_RESOURCE_FAILURE: failed to pull secret new from cluster.: "),
        "{away}"
    );
}
