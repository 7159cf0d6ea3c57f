//! The controller when something fails: the API server, the registry, another replica, or the
//! process itself. What is in force stays or is proven, and nobody has to help.
//!
//! - `lab`: a cluster, a registry and replicas; a `proxy` is what a test puts between them.
//! - `kill`: SIGKILL at each byte of a pull, each rename and each status write.
//! - `starts`: a registry that is slow at a start; `follow`: a tag that is followed where the API
//!   server takes no claim, or a rule denies what it stands for.
//! - `beside_v1`: v1.4.0 on the same API server; `exchange`: it goes and comes back under load.
//! - `jobs`: what happens to a resource, and to others, while it is built.
//! - `many`: a thousand resources at once; `shapes`: resources of every shape.
//! - `outage`: the API server is away, forgets, or is written to by others.
//! - `replicas`: three of them on a moving tag, and a status that others write; `disagree`: two that
//!   found different digests while one was held up.
//! - `keys_beside_v1`: what both say of resources of keys.
//! - `volume`: no room where plugins are installed.

mod beside_v1;
mod disagree;
mod exchange;
mod follow;
mod jobs;
mod keys_beside_v1;
mod kill;
mod lab;
mod many;
mod outage;
mod replicas;
mod shapes;
mod starts;
mod volume;

use super::proxy::{Asked, Fate, Proxy};
use lab::{Lab, Pushed, Replica, is_active, program, programs_in, reason, soak};
