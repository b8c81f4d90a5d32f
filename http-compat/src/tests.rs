//! Behaviour of the API in front of a fake node. Ids in comments are those of the contract
//! (W, A, H, ...) and of the list of legacy defects (F).

mod agent;
mod auth;
mod blobs;
mod dashboard;
mod deploy;
mod docs;
mod events;
mod fake;
mod framing;
mod hosts;
mod idempotency;
mod import;
mod insight;
mod isolation;
mod jobs;
mod listing;
mod logs;
mod network;
mod noise;
mod orders;
mod output;
mod principals;
mod public;
mod receipts;
mod refusals;
mod replicate;
mod rig;
mod services;
mod verify;
