//! From batches as they lie in the store to batches as they go upstream: where each record goes, what is merged, cut or left as
//! it is. Pure.

pub(in crate::uplink) mod gather;
pub(in crate::uplink) mod origins;
pub(in crate::uplink) mod partitioning;
pub(in crate::uplink) mod provenance;
pub(in crate::uplink) mod recode;
