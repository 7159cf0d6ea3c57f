//! What [`Selection`](crate::selection::Selection) decides by: the dates of artifacts, each read in
//! the artifact's own manifest, which its digest proves. Who may write the list is not asked for
//! them: without any key, it could make an old artifact young and a young one old.

use std::time::SystemTime;

use futures_util::future::join_all;
use ratify_core::{Context, ErrorCode, Reference, Referrer, ReferrerPage, Result, capped_line};

use super::{OrasStore, of_store};
use crate::selection::{Dropped, Moment, moment, reason};

/// When an artifact was made (OCI image specification, annotations.md).
const CREATED: &str = "org.opencontainers.image.created";
/// So many manifests of one list are read for their dates.
const MAX_READ: usize = 1000;
const READ_AT_ONCE: usize = 8;
/// So many digests stand in one line of the log.
const MAX_LOGGED: usize = 20;

impl OrasStore {
    /// Leaves out of a list what does not count.
    ///
    /// # Errors
    /// When a manifest cannot be had, there are too many, or the list says another date: what is
    /// left out unseen could be what should refuse.
    pub(super) async fn select(
        &self,
        subject: &Reference,
        listed: Vec<Referrer>,
        artifact_types: &[String],
        context: &Context,
    ) -> Result<ReferrerPage> {
        let selection = &self.selection;
        let counts = |type_: &str| {
            artifact_types.is_empty() || artifact_types.iter().any(|one| one == "*" || one == type_)
        };
        let needed = selection.needs_dates_of(&listed, counts);
        if needed.len() > MAX_READ {
            return Err(of_store(ErrorCode::ListReferrersFailure).with_detail(format!(
                "the dates of {} artifacts of {subject} are needed, and at most {MAX_READ} manifests are read for them (latestPerType, maxAge): delete old ones",
                needed.len()
            )));
        }
        let mut dates = vec![None; listed.len()];
        for some in needed.chunks(READ_AT_ONCE) {
            let read = some.iter().map(|index| self.date_of(subject, &listed[*index], context));
            for (index, date) in some.iter().zip(join_all(read).await) {
                dates[*index] = date?;
            }
        }
        let mut dropped = selection.judge(&listed, &dates, Moment::of(SystemTime::now()));
        // What nobody looks at is not worth a word.
        for (one, dropped) in listed.iter().zip(&mut dropped) {
            dropped.take_if(|_| !counts(&one.descriptor.artifact_type));
        }
        log(subject, &listed, &dropped);
        let left_out = selection.max_age.and_then(|age| reason(&dropped, age));
        let kept = listed.into_iter().zip(dropped).filter(|(_, dropped)| dropped.is_none());
        let kept = kept.map(|(one, _)| one).collect();
        Ok(ReferrerPage::new(kept, "").with_left_out(left_out.into_iter().collect()))
    }

    /// What an artifact's manifest says of its date; a document that is none says nothing.
    ///
    /// # Errors
    /// Also where the list says another date: one of the two was written by somebody else.
    async fn date_of(
        &self,
        subject: &Reference,
        artifact: &Referrer,
        context: &Context,
    ) -> Result<Option<Moment>> {
        let descriptor = &artifact.descriptor;
        let failure = || {
            of_store(ErrorCode::ListReferrersFailure)
                .with_detail(format!("could not tell how old {} is", descriptor.digest))
        };
        let date = match self.read_manifest(subject, descriptor, context).await {
            Ok(manifest) => manifest.annotations.get(CREATED).and_then(|text| moment(text)),
            Err(error) if error.code() == ErrorCode::DataDecodingFailure => None,
            Err(error) => return Err(failure().with_source(error)),
        };
        match descriptor.annotations.get(CREATED) {
            Some(listed) if moment(listed) != date => Err(failure().with_source(format!(
                "it is listed with the date {:?}, which its manifest does not have: correct the list",
                capped_line(listed, 64)
            ))),
            _ => Ok(date),
        }
    }
}

fn log(subject: &Reference, listed: &[Referrer], dropped: &[Option<Dropped>]) {
    let left_out = dropped.iter().flatten().count();
    if left_out == 0 {
        return;
    }
    let of = |(one, why): (&Referrer, &Option<Dropped>)| {
        why.map(|why| format!("{} ({why:?})", one.descriptor.digest))
    };
    let some: Vec<String> = listed.iter().zip(dropped).filter_map(of).take(MAX_LOGGED).collect();
    tracing::debug!(
        "{subject}: {left_out} of {} artifacts do not count: {}",
        listed.len(),
        capped_line(&some.join(", "), 4096)
    );
}
