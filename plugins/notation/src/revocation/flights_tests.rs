//! Lists that many want at once, by a host that answers when a test says so.

use std::{
    pin::Pin,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use futures_util::future::poll_fn;
use ratify_core::{BoxFuture, Descriptor, ErrorCode, FetchRequest, Manifest, Reference, Result};
use rcgen::{CertificateRevocationListParams, CrlDistributionPoint, SerialNumber, date_time_ymd};

use super::*;
use crate::testing::{Authority, Issued};

/// What answers once it may: that it is not reached at first, then the list.
struct Gate {
    is_open: AtomicBool,
    asked: AtomicUsize,
    /// Whether each of the failures is one of the moment.
    failures: Mutex<Vec<bool>>,
    list: Bytes,
}

impl Gate {
    /// The list, or what comes in its place, once the gate is open.
    async fn pass(&self) -> Result<Bytes> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        poll_fn(|_| match self.is_open.load(Ordering::Relaxed) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        match self.failures.lock().unwrap().pop() {
            Some(is_passing) => {
                Err(ErrorCode::ReferrerStoreFailure.detail("away").passing(is_passing))
            }
            None => Ok(self.list.clone()),
        }
    }
}

/// A host at the gate, for a tenant that has so much time.
struct Door {
    gate: Arc<Gate>,
    tenant: &'static str,
    give_up_at: Option<Instant>,
}

impl Host for Door {
    fn manifest<'a>(
        &'a self,
        _: &'a Reference,
        _: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Manifest>> {
        unreachable!()
    }

    fn blob<'a>(&'a self, _: &'a Reference, _: &'a Descriptor) -> BoxFuture<'a, Result<Bytes>> {
        unreachable!()
    }

    fn fetch<'a>(&'a self, _: &'a FetchRequest) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(self.gate.pass())
    }

    fn tenant(&self) -> &str {
        self.tenant
    }

    fn give_up_at(&self) -> Option<Instant> {
        self.give_up_at
    }
}

fn door(gate: &Arc<Gate>, tenant: &'static str, give_up_at: Option<Instant>) -> Arc<dyn Host> {
    Arc::new(Door { gate: Arc::clone(gate), tenant, give_up_at })
}

/// A certificate, who issued it, and a host that has the list of both.
struct Lab {
    chain: [Certificate; 2],
    gate: Arc<Gate>,
    host: Arc<dyn Host>,
    lists: ListCache,
}

impl Lab {
    /// A host that fails so often before it gives the list.
    fn new(failures: &[bool]) -> Self {
        let root = Authority::root("root");
        let point = CrlDistributionPoint { uris: vec!["http://list.example.com/a".into()] };
        let Issued { certificate, .. } =
            root.issue("leaf", |leaf| leaf.crl_distribution_points = vec![point]);
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 5, 1),
            next_update: date_time_ymd(2024, 6, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = Bytes::from(list.signed_by(&root.issuer).unwrap().der().to_vec());
        let (is_open, asked) = Default::default();
        let failures = Mutex::new(failures.to_vec());
        let gate = Arc::new(Gate { is_open, asked, failures, list });
        let chain = [certificate, root.certificate];
        let host = door(&gate, "", None);
        Self { chain, gate, host, lists: ListCache::default() }
    }

    /// Whether the certificate is good.
    fn ask(&self) -> Pin<Box<dyn Future<Output = bool> + '_>> {
        self.ask_by(&self.host)
    }

    fn door(&self, tenant: &'static str, give_up_at: Option<Instant>) -> Arc<dyn Host> {
        door(&self.gate, tenant, give_up_at)
    }

    fn ask_by<'a>(&'a self, host: &'a Arc<dyn Host>) -> Pin<Box<dyn Future<Output = bool> + 'a>> {
        Box::pin(async move {
            let now = Moment::parse_rfc3339("2024-05-06T00:00:00Z").unwrap();
            let revocation = Revocation { host, lists: &self.lists, now };
            let whose = Whose { purpose: Purpose::CodeSigning, anchor: 1, signing_time: None };
            revocation.check(&self.chain, whose).await.is_ok()
        })
    }

    fn open(&self, is_open: bool) {
        self.gate.is_open.store(is_open, Ordering::Relaxed);
    }

    fn asked(&self) -> usize {
        self.gate.asked.load(Ordering::Relaxed)
    }
}

fn poll<T>(work: &mut Pin<Box<dyn Future<Output = T> + '_>>) -> Poll<T> {
    work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_list_that_many_want_at_once_is_fetched_once_also_where_the_first_leaves() {
    let lab = Lab::new(&[]);
    let mut first = lab.ask();
    let mut others: Vec<_> = (0..16).map(|_| lab.ask()).collect();
    assert!(poll(&mut first).is_pending());
    assert!(others.iter_mut().all(|one| poll(one).is_pending()));
    assert_eq!(lab.asked(), 1);
    drop(first);
    assert!(others.iter_mut().all(|one| poll(one).is_pending()));
    lab.open(true);
    assert!(others.iter_mut().all(|one| poll(one) == Poll::Ready(true)));
    assert_eq!(lab.asked(), 1);
    assert_eq!(poll(&mut lab.ask()), Poll::Ready(true));
    assert_eq!(lab.asked(), 2, "no list is kept that is not to be");
}

#[test]
fn the_fetch_ends_with_the_last_who_waits() {
    let lab = Lab::new(&[]);
    let mut both = [lab.ask(), lab.ask()];
    assert!(both.iter_mut().all(|one| poll(one).is_pending()));
    assert_eq!(Arc::strong_count(&lab.host), 2, "the lab's, and the fetch's");
    drop(both);
    assert_eq!(Arc::strong_count(&lab.host), 1);
    lab.open(true);
    assert_eq!(poll(&mut lab.ask()), Poll::Ready(true));
    assert_eq!(lab.asked(), 2);
}

#[test]
fn a_failure_is_for_those_who_waited_and_for_nobody_after_them() {
    let lab = Lab::new(&[false]);
    let mut all = [lab.ask(), lab.ask(), lab.ask()];
    assert!(all.iter_mut().all(|one| poll(one).is_pending()));
    lab.open(true);
    assert!(all.iter_mut().all(|one| poll(one) == Poll::Ready(false)));
    assert_eq!(lab.asked(), 1);
    assert_eq!(poll(&mut lab.ask()), Poll::Ready(true));
    assert_eq!(lab.asked(), 2);
}

#[test]
fn who_joined_one_that_had_no_time_left_tries_once_more_and_no_oftener() {
    let lab = Lab::new(&[true]);
    let mut first = lab.ask();
    let mut others = [lab.ask(), lab.ask()];
    assert!(poll(&mut first).is_pending());
    assert!(others.iter_mut().all(|one| poll(one).is_pending()));
    lab.open(true);
    assert_eq!(poll(&mut first), Poll::Ready(false), "its own time, its own answer");
    assert!(others.iter_mut().all(|one| poll(one) == Poll::Ready(true)));
    let always = Lab::new(&[true; 9]);
    let mut all = [always.ask(), always.ask()];
    assert!(all.iter_mut().all(|one| poll(one).is_pending()));
    always.open(true);
    assert!(all.iter_mut().all(|one| poll(one) == Poll::Ready(false)));
    assert_eq!(always.asked(), 2);
}

#[test]
fn no_tenant_waits_for_the_fetch_of_another() {
    let lab = Lab::new(&[]);
    let doors = ["a", "a", "b", "b"].map(|tenant| lab.door(tenant, None));
    let mut all = doors.each_ref().map(|door| lab.ask_by(door));
    assert!(all.iter_mut().all(|one| poll(one).is_pending()));
    assert_eq!(lab.asked(), 2, "one of each");
    let [_, _, mut of_b, _] = all;
    lab.open(true);
    assert_eq!(poll(&mut of_b), Poll::Ready(true), "whatever becomes of a's");
}

#[tokio::test]
async fn who_joined_waits_for_no_longer_than_it_has_time() {
    let lab = Lab::new(&[]);
    let [patient, late] = [None, Some(Instant::now())].map(|end| lab.door("a", end));
    let mut first = lab.ask_by(&patient);
    assert!(poll(&mut first).is_pending());
    assert!(!lab.ask_by(&late).await, "the gate is shut all the while");
    assert_eq!(lab.asked(), 1);
    lab.open(true);
    assert_eq!(poll(&mut first), Poll::Ready(true));
}
