//! A server that gets no processor for a while, under load: nothing is lost, nothing is wrong, and what
//! is late is no verdict.

use futures_util::future::join_all;
use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// How often it is stopped, and for how long. An answer has 400 ms.
const PAUSES: usize = 3;
const PAUSE: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_processor_is_late_and_not_wrong() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let good: Vec<_> = (0..8).map(|image| put(&registry, &format!("app{image}"))).collect();
    let bad = put(&registry, "bad");
    let home = home();
    let mut file = config(&verifier("judge"));
    file["executor"] = json!({"verificationRequestTimeout": 400});
    home.configure(&file);
    let server = Server::start(&home).await;
    let pid = Pid::from_raw(server.process.id().unwrap().cast_signed()).unwrap();
    let load = |key: String, may_be: bool| {
        let server = &server;
        async move {
            for _ in 0..10 {
                let said = server.ask(&key).await;
                assert!(may_be || !allows(&said), "{said}");
                // What was decided is right; what was not is no item.
                assert!(said.get("value").is_none() || allows(&said) == may_be, "{said}");
            }
        }
    };
    let asked = good.iter().map(|key| load(key.clone(), true)).collect::<Vec<_>>();
    let asked = join_all(asked.into_iter().chain([load(bad.clone(), false)]));
    let pauses = async {
        for _ in 0..PAUSES {
            kill_process(pid, Signal::STOP).unwrap();
            tokio::time::sleep(PAUSE).await;
            kill_process(pid, Signal::CONT).unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::join!(asked, pauses);
    for key in &good {
        until(&server, key, true).await;
    }
    until(&server, &bad, false).await;
}
