//! From a reference to the program: each document and the program are taken from the inventory
//! where they are there and whole, and from the registry otherwise.

use std::{fs::File, path::Path, sync::OnceLock};

use bytes::Bytes;
use jiff::Timestamp;
use ratify_core::{
    Descriptor, Digest, Reference, capped_line,
    config::{Candidate, Part},
};
use ratify_store_oras::Origin;

use super::{
    Connect, InstallError, InstallOptions, InstallRequest, PlanError, PluginConfig, Progress, Ran,
    age,
    artifact::platform_text,
    plan::{self, MAX_CONFIG, Step, Wanted},
};
use crate::plugin::{
    inventory::{InstalledPlugin, Inventory, InventoryError, Record},
    trust::{self, Node},
};

/// What stands at the end of a walk.
pub(super) struct Found {
    pub(super) plugin: InstalledPlugin,
    pub(super) downloaded: bool,
}

/// One way from a reference to its program.
pub(super) struct Walk<'a> {
    request: &'a InstallRequest<'a>,
    options: &'a InstallOptions,
    inventory: &'a Inventory,
    reference: &'a Reference,
    /// `None` where nothing may be asked of a registry.
    connect: Option<Connect<'a>>,
    /// What was admitted before, for where no registry may be asked.
    known: Option<&'a Record>,
    origin: OnceLock<Origin>,
    documents: Vec<Digest>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        request: &'a InstallRequest<'a>,
        options: &'a InstallOptions,
        inventory: &'a Inventory,
        reference: &'a Reference,
        connect: Option<Connect<'a>>,
    ) -> Self {
        let (origin, documents) = (OnceLock::new(), Vec::new());
        Self { request, options, inventory, reference, connect, known: None, origin, documents }
    }

    /// Asks the registry for what is not here.
    pub(super) async fn online(&mut self, progress: Progress<'_>) -> Result<Found, InstallError> {
        let deadline = self.options.give_up_at;
        let walk = async {
            let root = self.root().await?;
            self.from(root, progress).await
        };
        match deadline {
            None => walk.await,
            Some(at) => {
                tokio::time::timeout_at(at.into(), walk).await.map_err(|_| InstallError::GaveUp)?
            }
        }
    }

    /// What was installed before, from what is here alone.
    pub(super) async fn offline(&mut self, known: &'a Record) -> Result<Found, InstallError> {
        self.known = Some(known);
        let mut found = self.from(known.root.clone(), &mut |_, _| {}).await?;
        found.downloaded = false;
        Ok(found)
    }

    /// What the reference stands for. By digest, and here: no request. By tag: one.
    async fn root(&self) -> Result<Descriptor, InstallError> {
        if let Some(digest) = self.reference.digest()
            && let Some(bytes) = self.inventory.document(digest)
            && let Some(media_type) = plan::media_type_of(&bytes)
        {
            return Ok(Descriptor::new(media_type, digest.clone(), bytes.len() as u64));
        }
        let root = self.origin()?.resolve(self.reference, self.options.give_up_at).await?;
        tracing::debug!(
            "Resolved plugin manifest: {} {} {}",
            capped_line(&root.media_type, 100),
            root.digest,
            root.size
        );
        Ok(root)
    }

    async fn from(
        &mut self,
        root: Descriptor,
        progress: Progress<'_>,
    ) -> Result<Found, InstallError> {
        let wanted = Wanted {
            platform: &self.options.platform,
            type_: self.request.type_,
            kind: self.request.kind,
            // A rule has words of its own.
            max_size: self.options.rules.max_size.map_or(self.options.max_size, |_| u64::MAX),
        };
        self.allow(Part::Root, &root.digest, None)?;
        let bytes = self.manifest(&root).await?;
        let (manifest, program) = match plan::root(&root, &bytes, &wanted)? {
            Step::Program(program) => (root.clone(), *program),
            Step::Manifest(entry) => {
                self.allow(Part::Manifest, &entry.digest, None)?;
                let bytes = self.manifest(&entry).await?;
                let program = plan::program(&entry, &bytes, &wanted)?;
                (*entry, program)
            }
        };
        self.allow(Part::Program, &program.layer.digest, Some(program.layer.size))?;
        let config = match &program.config {
            Some(config) => Some(plan::config(&self.config(config).await?, wanted.kind)?),
            None => None,
        };
        let mut record = self.record(root, manifest.digest, &program.layer, config);
        self.check_age(&record)?;
        self.admit(&mut record).await?;
        self.program(record, &program.layer, progress).await
    }

    /// Where plugins must be signed, none that is older takes the place of one that ran.
    fn check_age(&self, record: &Record) -> Result<(), InstallError> {
        if self.options.signatures.is_none() || self.request.source.allow_downgrade {
            return Ok(());
        }
        let here = self
            .inventory
            .record(&record.resource())
            .and_then(|known| Some(Ran { artifact: known.artifact, version: known.version? }));
        for ran in [self.request.ran, here.as_ref()].into_iter().flatten() {
            age::check(&record.artifact, record.version.as_deref(), ran)?;
        }
        Ok(())
    }

    /// What nobody who is trusted signed is not fetched, and does not run.
    async fn admit(&self, record: &mut Record) -> Result<(), InstallError> {
        let Some(signatures) = &self.options.signatures else { return Ok(()) };
        let basis = signatures.basis();
        if let Some(known) = self.known {
            // It was admitted by the same policies and keys, or it is not known to be.
            if basis.is_none() || known.admitted_by != basis || known.root != record.root {
                return Err(InstallError::Incomplete);
            }
            record.signers.clone_from(&known.signers);
            record.admitted_by = basis;
            record.admitted_until = known.admitted_until;
            return Ok(());
        }
        let (origin, give_up_at) = (self.origin()?, self.options.give_up_at);
        let (root, manifest) = (&record.root.digest, &record.manifest);
        let judged = signatures.judge(origin, self.reference, root, manifest, give_up_at).await?;
        for warning in &judged.warnings {
            tracing::warn!("{} plugin {}: {warning}", record.kind, record.type_);
        }
        for signer in &judged.signers {
            tracing::info!("{} plugin {} is signed by {signer}", record.kind, record.type_);
        }
        record.signers = judged.signers;
        record.admitted_by = basis;
        record.admitted_until = judged.until.and_then(|until| Timestamp::try_from(until).ok());
        Ok(())
    }

    /// What the rules forbid is not read any further.
    fn allow(&self, part: Part, digest: &Digest, size: Option<u64>) -> Result<(), InstallError> {
        let digests = [(part, digest)];
        let candidate = Candidate { digests: &digests, size, ..Candidate::default() };
        Ok(self.options.rules.check(&candidate)?)
    }

    /// A manifest, from here or from the registry, which proves it.
    async fn manifest(&mut self, descriptor: &Descriptor) -> Result<Bytes, InstallError> {
        if let Some(bytes) = self.inventory.document(&descriptor.digest) {
            self.documents.push(descriptor.digest.clone());
            return Ok(bytes.into());
        }
        let give_up_at = self.options.give_up_at;
        let origin = self.origin()?;
        let bytes = origin.manifest_bytes(self.reference, descriptor, give_up_at).await?;
        self.keep(&descriptor.digest, &bytes)?;
        Ok(bytes)
    }

    /// The configuration of a plugin artifact of ours.
    async fn config(&mut self, descriptor: &Descriptor) -> Result<Bytes, InstallError> {
        if let Some(bytes) = self.inventory.document(&descriptor.digest) {
            self.documents.push(descriptor.digest.clone());
            return Ok(bytes.into());
        }
        if descriptor.size > MAX_CONFIG {
            let text = format!("it has {} bytes, more than {MAX_CONFIG}", descriptor.size);
            return Err(PlanError::Config(text).into());
        }
        let (size, give_up_at) = (Some(descriptor.size), self.options.give_up_at);
        let origin = self.origin()?;
        let bytes = origin.blob_bytes(self.reference, &descriptor.digest, size, give_up_at).await?;
        self.keep(&descriptor.digest, &bytes)?;
        Ok(bytes)
    }

    fn keep(&mut self, digest: &Digest, bytes: &[u8]) -> Result<(), InstallError> {
        self.inventory.prepare(digest.algorithm().name())?;
        self.inventory.keep_document(digest, bytes)?;
        self.documents.push(digest.clone());
        Ok(())
    }

    fn record(
        &self,
        root: Descriptor,
        manifest: Digest,
        layer: &Descriptor,
        config: Option<PluginConfig>,
    ) -> Record {
        let (version, protocols) = match config {
            Some(config) => (Some(config.version).filter(|v| !v.is_empty()), config.protocols),
            None => (None, Vec::new()),
        };
        Record {
            name: self.request.name.to_owned(),
            kind: self.request.kind,
            type_: self.request.type_.to_owned(),
            artifact: self.request.source.artifact.clone(),
            root,
            manifest,
            digest: layer.digest.clone(),
            size: layer.size,
            media_type: layer.media_type.clone(),
            platform: platform_text(&self.options.platform),
            version,
            protocols,
            by_command: self.options.by_command,
            documents: self.documents.clone(),
            signers: Vec::new(),
            admitted_by: None,
            admitted_until: None,
            installed_at: format!("{:.0}", Timestamp::now()),
        }
    }

    /// The program, from here if it is whole, or else from the registry.
    async fn program(
        &self,
        record: Record,
        layer: &Descriptor,
        progress: Progress<'_>,
    ) -> Result<Found, InstallError> {
        match self.open(&record).await {
            Ok(plugin) => {
                let file = File::open(plugin.path()).map_err(|error| self.io(error, "opening"))?;
                trust::program_in(&file, &self.node())?;
                Ok(Found { plugin, downloaded: false })
            }
            Err(InstallError::Inventory(InventoryError::Missing(_))) => {
                self.fetch(record, layer, progress).await
            }
            Err(InstallError::Inventory(error @ InventoryError::Changed { .. })) => {
                tracing::warn!("{error}");
                self.fetch(record, layer, progress).await
            }
            Err(other) => Err(other),
        }
    }

    async fn fetch(
        &self,
        record: Record,
        layer: &Descriptor,
        progress: Progress<'_>,
    ) -> Result<Found, InstallError> {
        let origin = self.origin()?;
        let target = self.inventory.view_path(self.request.type_);
        tracing::debug!("Downloading blob {}", layer.digest);
        self.inventory.prepare(layer.digest.algorithm().name())?;
        let inventory = self.inventory.clone();
        let cleaned = tokio::task::spawn_blocking(move || inventory.remove_abandoned()).await;
        cleaned.map_err(|error| InstallError::Task(error.to_string()))?;
        let draft = self.inventory.draft(&layer.digest)?;
        tracing::debug!("writing plugin bytes to {}", target.display());
        let size = layer.size;
        let mut told = |received: u64| progress(received, size);
        let give_up_at = self.options.give_up_at;
        let writer = draft.writer()?;
        let written = origin.blob_into(self.reference, layer, writer, &mut told, give_up_at).await;
        let path = || self.inventory.content_path(&layer.digest);
        drop(written.map_err(|error| InstallError::receiving(error, path()))?);
        let received = draft.close()?;
        trust::program_in(received.file(), &self.node())?;
        tracing::debug!("marking {} as executable", target.display());
        let inventory = self.inventory.clone();
        let adopted = tokio::task::spawn_blocking(move || inventory.adopt(&record, received)).await;
        let plugin = adopted.map_err(|error| InstallError::Task(error.to_string()))??;
        Ok(Found { plugin, downloaded: true })
    }

    /// Hashes the whole file, so on a thread that may block.
    async fn open(&self, record: &Record) -> Result<InstalledPlugin, InstallError> {
        let (inventory, record) = (self.inventory.clone(), record.clone());
        let opened = tokio::task::spawn_blocking(move || inventory.open(&record)).await;
        Ok(opened.map_err(|error| InstallError::Task(error.to_string()))??)
    }

    fn origin(&self) -> Result<&Origin, InstallError> {
        if let Some(origin) = self.origin.get() {
            return Ok(origin);
        }
        let connect = self.connect.ok_or(InstallError::Incomplete)?;
        let origin = connect(self.request.source)
            .map_err(|error| InstallError::Registry(error.to_string()))?;
        Ok(self.origin.get_or_init(|| origin))
    }

    fn node(&self) -> Node<'_> {
        Node {
            architecture: &self.options.platform.architecture,
            allow_scripts: self.options.allow_scripts,
            exists: &Path::exists,
        }
    }

    fn io(&self, source: std::io::Error, doing: &'static str) -> InstallError {
        let path = self.inventory.view_path(self.request.type_);
        InventoryError::Io { doing, path, source }.into()
    }
}
