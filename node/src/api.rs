//! What a node is asked and what it answers, as plain data.
//!
//! These types are the node's public face, the bodies of its control API and the `--json` output of the command line,
//! so a field that is named here is a promise. Sizes are bytes, times are milliseconds of Unix time or, where a name
//! says so, seconds. Peers and addresses are text.

mod contents;
mod explain;
mod failure;
mod fetch;
mod operation;
mod publish;
mod space;
mod status;
mod verify;

pub use contents::{BytesRequest, ContentInfo, ContentState, EntriesRequest, EntryInfo, EntryType};
pub use explain::{Explained, FetchReport, FetchState, PeerFailure, PeerShare, PeerWork};
pub use failure::{Failure, FailureKind};
pub use fetch::{FetchRequest, Fetched};
pub use operation::{Event, Phase, Progress};
pub use publish::{PublishRequest, PublishStreamRequest, Published};
pub use space::{CollectRequest, Collected, ContentRequest, PinRequest, Pinned, Removed, Unpinned};
pub use status::{Identity, PeerInfo, ServingInfo, Status, TransferInfo};
pub use verify::{DamageInfo, Verified, VerifyRequest};
