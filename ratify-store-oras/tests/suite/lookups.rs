//! Names are looked up at a name server that is silent about some of them, in a network of the
//! test's own: whose names those are has the trouble, and nobody else.

use std::{net::UdpSocket, process::Command, time::Duration};

use ratify_core::Reference;
use ratify_store_oras::{Client, Transport};

use crate::{
    fake::{Content, Fake, Seen, options},
    network::{ADDRESS, is_own},
};

/// Answers with [`ADDRESS`], or not at all where a name begins with `hang`.
fn serve(socket: &UdpSocket) {
    let mut packet = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut packet) {
        let question = &packet[12..length];
        let name_ends = question.iter().position(|byte| *byte == 0).unwrap();
        if question[1..].starts_with(b"hang") {
            continue;
        }
        let is_v4 = question[name_ends + 1..name_ends + 3] == [0, 1];
        let mut answer = packet[..2].to_vec();
        answer.extend_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
        answer.extend_from_slice(&question[..name_ends + 5]);
        if is_v4 {
            answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 99, 0, 1]);
        }
        socket.send_to(&answer, from).unwrap();
    }
}

/// This machine's names are looked up at [`ADDRESS`] from now on.
fn ask_there() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!("nameserver {ADDRESS}\noptions timeout:5 attempts:2\n");
    std::fs::write(file.path(), text).unwrap();
    let mut mount = Command::new("mount");
    let mounted = mount.arg("--bind").arg(file.path()).arg("/etc/resolv.conf").status();
    assert!(mounted.unwrap().success());
}

#[test]
fn a_tenant_whose_names_hang_does_not_starve_another() {
    let test = "lookups::a_tenant_whose_names_hang_does_not_starve_another";
    if !is_own(test, &["itself"]) {
        return;
    }
    ask_there();
    let socket = UdpSocket::bind((ADDRESS, 53)).unwrap();
    std::thread::spawn(move || serve(&socket));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let content = Content::new();
        let fake = Fake::start_at((ADDRESS, 0), move |seen: &Seen| content.answer(seen)).await;
        let image = |host: String| {
            Reference::parse(&format!("{host}.example.com:{}/app:1", fake.address.port())).unwrap()
        };
        // The clients share their connections, as those of a server do.
        let mut options = options();
        options.transport = Transport::PlainHttp;
        let connections = options.connections.clone();
        let client = |tenant: &str| {
            let mut options = options.clone();
            options.connections = connections.clone();
            options.tenant = tenant.into();
            Client::new(options).unwrap()
        };
        let bad = client("bad");
        for number in 0..100 {
            let (bad, image) = (bad.clone(), image(format!("hang{number}")));
            tokio::spawn(async move { bad.resolve(&image, None).await.map(drop) });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let good = client("good");
        for number in 0..20 {
            let image = image(format!("r{number}"));
            let resolved = tokio::time::timeout(Duration::from_secs(2), good.resolve(&image, None));
            resolved.await.expect("it waits for another's names").unwrap();
        }
        // That there is something to wait for is shown by the other's own.
        let own = image("r".into());
        let own = tokio::time::timeout(Duration::from_secs(2), bad.resolve(&own, None)).await;
        assert!(own.is_err(), "{own:?}");
    });
    runtime.shutdown_background();
}
