//! A gateway on boards that are directories.

use super::hardware::tests::tree;
use super::*;
use crate::config::Config;
use crate::gateway::{End, Gateway, STORE_DIR};

fn board(serial: &str) -> Place {
    let kernel = tree(&[("proc/device-tree/serial-number", serial)]);
    Place::Home(Hardware::below(kernel.path()))
}

fn config(dir: &Path, id: Option<&str>) -> Config {
    let mut config = Config::default();
    dir.clone_into(&mut config.data_dir);
    config.gateway.id = id.map(str::to_owned);
    config.listen.native.enabled = false;
    config.listen.kafka.enabled = false;
    config.listen.mqtt.enabled = false;
    config.source.host.enabled = false;
    config
}

/// Its id, incarnation, and how the run before ended.
fn run(dir: &Path, id: Option<&str>, place: &Place) -> Result<(String, [u8; 16], End), String> {
    let gateway = Gateway::start_at(&config(dir, id), place)?;
    let told = (gateway.id().to_owned(), gateway.broker().store().incarnation(), gateway.this_start().before);
    gateway.stop();
    Ok(told)
}

#[test]
fn a_card_in_another_board_is_refused_until_it_is_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (board("10000000a3b4c5d6"), board("10000000ffff0001"));
    let (id, incarnation, before) = run(dir.path(), None, &old).unwrap();
    assert_eq!((id.as_str(), before), ("soc-10000000a3b4c5d6", End::None));
    assert_eq!(run(dir.path(), None, &old), Ok((id.clone(), incarnation, End::Clean)));

    let said = run(dir.path(), None, &new).unwrap_err();
    let ways = [format!("brooklet adopt {}", dir.path().display()), format!("brooklet reset {}", dir.path().display())];
    assert!(ways.iter().all(|way| said.contains(way)) && said.contains("10000000a3b4c5d6"), "{said}");
    // What does not tell its serial number proves nothing, and changes nothing.
    let nameless = Place::Home(Hardware::default());
    assert_eq!(run(dir.path(), None, &nameless).unwrap().0, id);
    assert!(run(dir.path(), None, &new).is_err());
    // Somebody who empties it for a dead board is not asked.
    assert_eq!(run(dir.path(), Some("whatever"), &Place::StandIn).unwrap().0, id);

    let Place::Home(hardware) = &new else { panic!() };
    let adopted = adopt(&dir.path().join(STORE_DIR), hardware, None).unwrap();
    assert_eq!((adopted.id.as_str(), adopted.id_before.as_deref()), (id.as_str(), Some(id.as_str())));
    assert_eq!(run(dir.path(), None, &new), Ok((id, incarnation, End::Clean)));
    assert!(run(dir.path(), None, &old).is_err());
}

#[test]
fn a_gateway_of_another_name_is_refused_until_it_is_renamed() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::Home(Hardware::default());
    let (id, incarnation, _) = run(dir.path(), None, &place).unwrap();
    assert!(id.starts_with("gw-") && id.len() == 15, "{id}");
    let said = run(dir.path(), Some("berlin-7"), &place).unwrap_err();
    assert!(said.contains(&id) && said.contains("--id berlin-7"), "{said}");
    adopt(&dir.path().join(STORE_DIR), &Hardware::default(), Some("berlin-7")).unwrap();
    assert_eq!(run(dir.path(), Some("berlin-7"), &place).unwrap().1, incarnation);
    assert_eq!(run(dir.path(), None, &place).unwrap().0, "berlin-7");
}

#[test]
fn a_store_from_before_ids_were_kept_goes_on_under_its_name() {
    let hardware = Hardware { soc: Some("abc123".to_owned()), emmc: None };
    let now = decide(None, None, &hardware, || "gw-1".to_owned()).unwrap();
    assert_eq!(now, Identity { id: "gw-1".to_owned(), hardware: hardware.clone() });
    assert_eq!(Identity::decode(&now.row().1.unwrap()), Some(now.clone()));
    assert_eq!((Identity::decode(&[]), Identity::decode(&[2, 0])), (None, None));
    // What the board did not tell before is added.
    let more = Hardware { emmc: Some("cid001".to_owned()), ..hardware };
    assert_eq!(decide(Some(&now), None, &more, String::new).unwrap().hardware, more);
}

#[test]
fn a_machine_id_is_hashed() {
    let machine = tree(&[("etc/machine-id", "0123456789abcdef0123456789abcdef\n")]);
    let id = machine_id(machine.path()).unwrap();
    assert!(id.starts_with("machine-") && id.len() == 24 && !id.contains("0123456789"), "{id}");
    assert_eq!(machine_id(machine.path()).unwrap(), id);
    let said = machine_id(tree(&[("etc/machine-id", "uninitialized\n")]).path()).unwrap_err();
    assert!(said.contains("give the gateway a name"), "{said}");
    assert!(machine_id(tree(&[]).path()).is_err());
}
