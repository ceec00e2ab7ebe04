//! Who this gateway is: its id, kept in its store together with the hardware on which that ran.
//!
//! | `gateway.id` | a new store's gateway is called |
//! |---|---|
//! | a name | that |
//! | `machine-id` | `machine-` and a number made of /etc/machine-id, which itself isn't told to anybody |
//! | `auto` | `soc-` and the SoC's serial number; else `emmc-` and the eMMC's CID; else `gw-` and six random bytes of the store's incarnation |
//!
//! Invariants: once kept, the id stays, whatever the hardware later tells: positions at the centre hang on it. A store of another board, or
//! of a gateway of another name, is not served: a copied card would be a second gateway of one name. A store from before ids were kept goes
//! on under the name that it had.
//!
//! Row: space *gateway*, key `identity`; a byte, the format (1), then [`Identity`] in postcard.

mod hardware;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::own_rows::{OwnRow, write_rows};
use super::settings::STORE_DIR;
use crate::store::clock::RealClock;
use crate::store::disk::RealDisk;
use crate::store::{Reader, Space, Store, StoreOptions};

pub use hardware::Hardware;

const KEY: &[u8] = b"identity";
const FORMAT: u8 = 1;
/// The word for `gateway.id` that stands for /etc/machine-id.
const MACHINE_ID: &str = "machine-id";

/// What the store keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    id: String,
    hardware: Hardware,
}

impl Identity {
    fn decode(row: &[u8]) -> Option<Self> {
        match row.split_first()? {
            (&FORMAT, body) => postcard::from_bytes(body).ok(),
            _ => None,
        }
    }

    fn row(&self) -> OwnRow {
        (KEY.to_vec(), Some(postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()))
    }

    /// # Errors
    /// The row is none of ours: of a later version, or spoilt.
    fn of(store: &Store) -> Result<Option<Self>, String> {
        let Some(row) = store.get(Space::Gateway, KEY) else { return Ok(None) };
        Self::decode(&row).map(Some).ok_or_else(|| {
            "the store's record of its gateway can't be read: it was written by a later version of Brooklet".to_owned()
        })
    }
}

/// Where a gateway runs, and by what right.
#[derive(Clone, Debug)]
pub enum Place {
    /// On its own board, which is compared with the one that the store knows.
    Home(Hardware),
    /// Anywhere, for a gateway that can't run itself: the store's identity is used, and left as it is.
    StandIn,
}

/// The id to run under, and what of it is to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) id: String,
    pub(super) row: Option<OwnRow>,
}

/// Finds out who this gateway is. Writes nothing.
///
/// # Errors
/// The store belongs to another gateway or board; the text has the ways out.
pub(super) fn settle(configured: Option<&str>, store: &Store, place: &Place) -> Result<Settled, String> {
    let kept = Identity::of(store)?;
    let named = match configured {
        Some(MACHINE_ID) => Some(machine_id(Path::new("/"))?),
        name => name.map(str::to_owned),
    };
    let hardware = match place {
        Place::Home(hardware) => hardware,
        Place::StandIn => {
            let id = kept.map(|kept| kept.id).or(named).unwrap_or_else(|| generated(store));
            return Ok(Settled { id, row: None });
        }
    };
    let is_new = store.status().last_commit == 0;
    let now =
        decide(kept.as_ref(), named, hardware, || hardware.id().filter(|_| is_new).unwrap_or_else(|| generated(store)));
    let now = now.map_err(|why| why.text(&store.dir()))?;
    let row = (kept.as_ref() != Some(&now)).then(|| now.row());
    Ok(Settled { id: now.id, row })
}

/// Whether a gateway called `id` would be called otherwise by this configuration, so that its store has to be adopted first.
pub(super) fn needs_adoption(configured: Option<&str>, id: &str) -> bool {
    match configured {
        None => false,
        Some(MACHINE_ID) => machine_id(Path::new("/")).as_deref() != Ok(id),
        Some(name) => name != id,
    }
}

/// What `serve` would say to the data in a directory, if that belongs to a gateway of another name than `configured`. `running` is the id of the
/// gateway that runs on it; else the store is read.
#[must_use]
pub fn of_another_name(configured: Option<&str>, data_dir: &Path, running: Option<String>) -> Option<String> {
    let store = data_dir.join(STORE_DIR);
    let kept = running.or_else(|| {
        let reader = Reader::open(&store, Arc::new(RealDisk::new())).ok().filter(|_| store.is_dir())?;
        let rows = reader.entries(Space::Gateway, KEY);
        rows.iter().find(|(key, _)| key == KEY).and_then(|(_, row)| Identity::decode(row)).map(|kept| kept.id)
    })?;
    let wanted = configured.filter(|_| needs_adoption(configured, &kept))?.to_owned();
    Some(Mismatch::Name { kept, wanted }.text(&store))
}

/// Why a store is not served.
#[derive(Debug, PartialEq, Eq)]
enum Mismatch {
    Hardware { kept: Hardware, here: Hardware },
    Name { kept: String, wanted: String },
}

impl Mismatch {
    fn text(&self, store: &Path) -> String {
        let dir = store.parent().unwrap_or(store).display();
        match self {
            Self::Hardware { kept, here } => format!(
                "the data in {dir} belongs to {kept}, and this is {here}. If this board takes the place of that one, which will not run on a \
                 copy of the data any more: `brooklet adopt {dir}`. If the data is a copy: `brooklet reset {dir}` deletes its records, and \
                 begins anew"
            ),
            Self::Name { kept, wanted } => format!(
                "the data in {dir} belongs to gateway {kept}, and gateway.id is {wanted}: only the name differs. If it \
                 was changed by mistake, set gateway.id = \"{kept}\". If this gateway is to be called {wanted} from now on: `brooklet adopt \
                 {dir} --id {wanted}`; it keeps its records, and the centre takes it for a new gateway. If the data is another gateway's: \
                 `brooklet reset {dir}` deletes its records, and begins anew"
            ),
        }
    }
}

/// Who it is now, by what is kept, what is configured and what is there.
fn decide(
    kept: Option<&Identity>,
    named: Option<String>,
    here: &Hardware,
    generated: impl FnOnce() -> String,
) -> Result<Identity, Mismatch> {
    let Some(kept) = kept else {
        return Ok(Identity { id: named.unwrap_or_else(generated), hardware: here.clone() });
    };
    if kept.hardware.differs_from(here) {
        return Err(Mismatch::Hardware { kept: kept.hardware.clone(), here: here.clone() });
    }
    if let Some(wanted) = named.filter(|wanted| *wanted != kept.id) {
        return Err(Mismatch::Name { kept: kept.id.clone(), wanted });
    }
    Ok(Identity { id: kept.id.clone(), hardware: kept.hardware.or(here) })
}

/// As durable and as unique as the store.
fn generated(store: &Store) -> String {
    store.incarnation().iter().take(6).fold("gw-".to_owned(), |id, byte| id + &format!("{byte:02x}"))
}

/// An id of this installation. machine-id(5) asks that the number itself not be told: the id is a keyed hash of it.
fn machine_id(root: &Path) -> Result<String, String> {
    let file = root.join("etc/machine-id");
    let said = |why: &str| format!("gateway.id = \"{MACHINE_ID}\": {} {why}; give the gateway a name", file.display());
    let text = std::fs::read_to_string(&file).map_err(|error| said(&format!("can't be read ({error})")))?;
    let text = text.trim();
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(said("holds no machine id"));
    }
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, text.as_bytes());
    let tag = ring::hmac::sign(&key, b"brooklet gateway.id");
    Ok(tag.as_ref().iter().take(8).fold("machine-".to_owned(), |id, byte| id + &format!("{byte:02x}")))
}

/// What an adoption changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The gateway's id from now on, and the one that it had; `None` if the store kept none.
    pub id: String,
    pub id_before: Option<String>,
    /// The board from now on, and the one before.
    pub hardware: Hardware,
    pub hardware_before: Hardware,
}

/// Lets `hardware` take a stopped store over, and gives its gateway another id if there is one. Records, the incarnation and all positions
/// stay: uplinks go on where they were, as after a restart. Under another id the centre knows nothing of this gateway: its uplinks go on from the
/// positions kept here. Blocks.
///
/// # Errors
/// A text: a gateway runs on it, or it can't be opened or written.
pub fn adopt(store_dir: &Path, hardware: &Hardware, id: Option<&str>) -> Result<Adopted, String> {
    let options = StoreOptions::unbounded(store_dir);
    let opened = Store::open(options, Arc::new(RealDisk::new()), Arc::new(RealClock::default()));
    let (store, mut engine) = opened.map_err(|error| error.to_string())?;
    let kept = Identity::of(&store)?;
    let id_before = kept.as_ref().map(|kept| kept.id.clone());
    let id = id.map(str::to_owned).or_else(|| id_before.clone()).unwrap_or_else(|| generated(&store));
    let now = Identity { id, hardware: hardware.clone() };
    let outcome = write_rows(&store, vec![now.row()]);
    engine.step_writer(true);
    let outcome = outcome.take().unwrap_or_else(|| Err("the store did not take it".to_owned()));
    store.shutdown();
    let closed = engine.close();
    outcome?;
    closed.map_err(|error| format!("{}: {error}", store_dir.display()))?;
    let hardware_before = kept.map(|kept| kept.hardware).unwrap_or_default();
    Ok(Adopted { id: now.id, id_before, hardware: now.hardware, hardware_before })
}

#[cfg(test)]
mod tests;
