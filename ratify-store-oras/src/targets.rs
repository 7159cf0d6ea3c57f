//! [`Target`]: a repository at one of the places where its registry's content is; and [`Targets`],
//! those places one after another.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use ratify_core::Reference;
use url::Url;

use crate::{Client, OrasError, auth::challenge, client::PULL, exchange::Call, route::Endpoint};

/// A repository at one of the places where its registry's content is, and what is asked of it.
#[derive(Clone)]
pub(crate) struct Target<'a> {
    pub(crate) reference: &'a Reference,
    /// The API, up to `/v2`, or as deep as a file says.
    pub(crate) base: Url,
    /// What stands before the names of repositories there; empty where nothing does.
    pub(crate) folder: String,
    /// What is special about the place, where a file says something of it.
    pub(crate) place: Option<Arc<Endpoint>>,
    /// The mirror's host, where the place is one: it has credentials of its own.
    pub(crate) mirror: Option<String>,
    pub(crate) actions: &'static [&'static str],
    /// Another repository of the registry that is read from: a blob is taken from there.
    pub(crate) also_pull: Option<&'a str>,
    pub(crate) give_up_at: Option<Instant>,
}

/// The places that are left to be asked.
pub(crate) struct Targets<'a> {
    reference: &'a Reference,
    places: VecDeque<Endpoint>,
    actions: &'static [&'static str],
    give_up_at: Option<Instant>,
}

impl<'a> Targets<'a> {
    pub(crate) fn new(
        reference: &'a Reference,
        places: Vec<Endpoint>,
        actions: &'static [&'static str],
        give_up_at: Option<Instant>,
    ) -> Self {
        Self { reference, places: places.into(), actions, give_up_at }
    }

    /// The next place.
    pub(crate) async fn next(&mut self, client: &Client) -> Result<Target<'a>, OrasError> {
        let registry = self.reference.registry();
        let place = self.places.pop_front().ok_or_else(|| OrasError::Registry {
            registry: registry.to_owned(),
            why: "there is no other place to ask".into(),
        })?;
        let base = match &place.base {
            Some(base) => base.clone(),
            None => client.base(registry).await?,
        };
        let folder = folder(&base).to_owned();
        let mirror = place.is_mirror(registry).then(|| authority(&base));
        let is_plain = place.base.is_none() && place.tls.is_none() && place.headers.is_empty();
        let place = (!is_plain).then(|| Arc::new(place));
        let (reference, actions, give_up_at) = (self.reference, self.actions, self.give_up_at);
        let also_pull = None;
        Ok(Target { reference, base, folder, place, mirror, actions, also_pull, give_up_at })
    }

    /// Whether there is a place that was not asked yet.
    pub(crate) fn has_more(&self) -> bool {
        !self.places.is_empty()
    }

    /// Whether the next place is asked after an error; a failing mirror is passed by, and said.
    ///
    /// # Errors
    /// The error itself, where it stands.
    pub(crate) fn pass(&self, error: OrasError) -> Result<(), OrasError> {
        let stands = matches!(
            error,
            OrasError::GaveUp { .. } | OrasError::Sink { .. } | OrasError::TooLarge { .. }
        );
        if stands || self.places.is_empty() {
            return Err(error);
        }
        match error {
            OrasError::NotFound { .. } => tracing::debug!("a mirror has not: {error}"),
            error => tracing::warn!("a mirror failed, asking the next host: {error}"),
        }
        Ok(())
    }
}

impl Target<'_> {
    /// Whose credentials are asked for: the registry's, or a mirror's own.
    pub(crate) fn host(&self) -> &str {
        self.mirror.as_deref().unwrap_or_else(|| self.reference.registry())
    }

    /// What the repository is called there: what tokens and credentials are asked for.
    pub(crate) fn repository(&self) -> String {
        self.named_there(self.reference.repository())
    }

    /// What a repository of the registry is called there.
    pub(crate) fn named_there(&self, repository: &str) -> String {
        match self.folder.as_str() {
            "" => repository.to_owned(),
            folder => format!("{folder}/{repository}"),
        }
    }

    /// What how referrers are listed depends on, besides the origin: the path of the API there, whom
    /// a mirror stands for, and the repository, since a host may have others behind it.
    pub(crate) fn list_place(&self) -> String {
        let (registry, repository) = (self.reference.registry(), self.reference.repository());
        format!("{} {registry} {repository}", self.base.path())
    }

    /// What a challenge that leads nowhere else depends on, besides the origin: the path of the API
    /// there, and whom a mirror stands for.
    pub(crate) fn challenge_place(&self) -> String {
        let stands_for = self.mirror.as_ref().map(|_| self.reference.registry());
        format!("{} {}", self.base.path(), stands_for.unwrap_or_default().to_ascii_lowercase())
    }

    /// The same for one that leads to a token service elsewhere: that counts for repositories whose
    /// names begin with the same part, since a host may have others behind it by that part, and one
    /// of them must not say to whom the credentials for another are shown.
    pub(crate) fn challenge_part(&self) -> String {
        let repository = self.reference.repository();
        let first = repository.split_once('/').map_or(repository, |(first, _)| first);
        format!("{} {first}", self.challenge_place())
    }

    /// What a grant is for, besides its scope: where it is shown, and whose it is.
    pub(crate) fn grant_place(&self) -> String {
        let origin = self.base.origin().ascii_serialization();
        format!("{origin}{} {}", self.challenge_place(), self.host())
    }

    /// The next page of a list. A mirror may hand on a link of the registry's own, which would lead
    /// to another registry's list on that mirror: it is told whom it stands for, and the list is
    /// the same.
    ///
    /// # Errors
    /// Where a mirror links to another list.
    pub(crate) fn page(&self, current: &Url, mut next: Url) -> Result<Url, &'static str> {
        if self.mirror.is_some() {
            if next.path() != current.path() {
                return Err("the mirror's next page is of another list");
            }
            if !next.query_pairs().any(|(key, _)| key == "ns") {
                next.query_pairs_mut().append_pair("ns", self.reference.registry());
            }
        }
        Ok(next)
    }

    /// What a token must allow; `asked` is what the challenge names.
    pub(crate) fn scope(&self, asked: Option<&str>) -> String {
        let own = challenge::scope(&self.repository(), self.actions, asked);
        match self.also_pull {
            Some(other) => {
                format!("{own} {}", challenge::scope(&self.named_there(other), PULL, None))
            }
            None => own,
        }
    }

    /// A call with what is special about this place, if it is to this place.
    pub(crate) fn furnish(&self, call: &Call) -> Call {
        let mut call = call.clone();
        if call.url.origin() == self.base.origin() {
            call.place.clone_from(&self.place);
        }
        call
    }
}

/// The path of an API below `/v2`: a registry that has others behind it names their repositories
/// so. None where the path ends at `/v2`, or has no such part.
fn folder(base: &Url) -> &str {
    let path = base.path().trim_end_matches('/');
    match path.ends_with("/v2") {
        true => "",
        false => path.split_once("/v2/").map_or("", |(_, folder)| folder),
    }
}

/// Host and port of a URL, the port only where it is not the default one of HTTPS.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        None | Some(443) => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_v2_is_part_of_a_repositorys_name() {
        for (base, expected) in [
            ("https://r.example.com/v2", ""),
            ("https://r.example.com/v2/", ""),
            ("https://r.example.com/prefix/v2", ""),
            ("https://r.example.com/v2/hub", "hub"),
            ("https://r.example.com/v2/hub/team/", "hub/team"),
            ("https://r.example.com/prefix/v2/hub", "hub"),
            ("https://r.example.com/v2/hub/v2", ""),
            ("https://r.example.com/as/is", ""),
            ("https://r.example.com/av2/x", ""),
            ("https://r.example.com", ""),
        ] {
            assert_eq!(folder(&Url::parse(base).unwrap()), expected, "{base}");
        }
    }
}
