//! `brooklet cert`: a small CA and what it issues, for a first set-up. Files in one directory: `ca.pem`, `ca.key`, `crl.pem`, and
//! `NAME.pem`, `NAME.key` for each gateway and device.
//!
//! Invariants: keys have mode 0600 from their first byte on; a file is replaced whole or not at all; a CA is never replaced.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use super::{
    error::CliError,
    parse::Parsed,
    spec::{Opt, Positional, Spec},
    term, when,
};
use crate::calendar::{MS_PER_DAY, format_time};
use crate::store::clock::WALL_FLOOR_MS;
use crate::tls::issue::{HostName, Issuer, Key, Order, Purpose, Revoked, authority, pem};
use crate::tls::{self, Certificate};

/// Clocks of others may be behind by that, ms.
const CLOCK_SLACK_MS: i64 = 3_600_000;
const CA_DAYS: u64 = 3_650;
const GATEWAY_DAYS: u64 = 730;
const DEVICE_DAYS: u64 = 1_825;
const DAYS_MAX: u64 = 36_500;
/// Longest name in a certificate (RFC 5280, ub-common-name).
const NAME_CHARS_MAX: usize = 64;

const DIR: Opt = Opt::value("dir", "DIR", "Where the CA lies and files go (default .)").short('d');
const NAME: &[Positional] =
    &[Positional { name: "NAME", required: true, help: "What the certificate calls its owner, and its files" }];

pub(super) static CA: Spec = Spec {
    name: "cert ca",
    summary: "Make a CA that issues certificates for a site",
    positionals: &[],
    options: &[
        DIR,
        Opt::value("name", "NAME", "What the CA calls itself (default Brooklet CA)"),
        Opt::value("days", "N", "How long it is valid (default 3650)"),
    ],
    shared: &[],
    details: "Writes ca.pem, which everyone who connects must have, and ca.key, which whoever has it can issue certificates with:\n\
              keep it off the gateways. crl.pem is the list of revoked certificates, empty for now.\n\n\
              brooklet cert ca --dir tls && brooklet cert gateway gw-7 --dir tls --host gw-7.plant.lan --host 10.0.0.7",
};

pub(super) static GATEWAY: Spec = Spec {
    name: "cert gateway",
    summary: "Issue a gateway's certificate, for its listeners and its uplinks",
    positionals: NAME,
    options: &[
        DIR,
        Opt::value("host", "HOST", "A name or address that clients connect to, besides NAME and this machine's own")
            .repeated(),
        Opt::value("days", "N", "How long it is valid (default 730)"),
    ],
    shared: &[],
    details: "Writes NAME.pem and NAME.key, with a new key each time. A gateway that runs takes files over that replace those it\n\
              uses: in seconds, or at once by SIGHUP.\n\n\
              [listen.kafka.tls]\n\
              cert = \"tls/gw-7.pem\"\n\
              key = \"tls/gw-7.key\"\n\
              client_ca = \"tls/ca.pem\"",
};

pub(super) static DEVICE: Spec = Spec {
    name: "cert device",
    summary: "Issue a certificate with which a device or program connects",
    positionals: NAME,
    options: &[DIR, Opt::value("days", "N", "How long it is valid (default 1825)")],
    shared: &[],
    details: "Writes NAME.pem and NAME.key. The gateway knows its owner by CN=NAME, if the listener has the CA as client_ca.",
};

pub(super) static REVOKE: Spec = Spec {
    name: "cert revoke",
    summary: "Revoke a certificate of this CA: enter it into crl.pem",
    positionals: NAME,
    options: &[DIR],
    shared: &[],
    details: "Reads NAME.pem. Gateways refuse what stands in the crl.pem that their configuration names (tls.crl): bring it there.",
};

pub(super) static SHOW: Spec = Spec {
    name: "cert show",
    summary: "Print what the certificates in a file say",
    positionals: &[Positional { name: "FILE", required: true, help: "Certificates in PEM" }],
    options: &[],
    shared: &[],
    details: "For each: its owner, the names it is for, who issued it, from when until when. Nothing is verified.",
};

/// Arguments of `cert ca`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CaArgs {
    dir: PathBuf,
    name: String,
    days: u64,
}

/// Arguments of `cert gateway`, `cert device` and `cert revoke`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedArgs {
    dir: PathBuf,
    name: String,
    days: u64,
    hosts: Vec<String>,
}

/// Arguments of `cert show`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ShowArgs {
    file: PathBuf,
}

impl CaArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<CaArgs, CliError> {
        let name = args.text("name")?.unwrap_or_else(|| "Brooklet CA".to_owned());
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            return Err(args.usage(format!("--name: 1 to {NAME_CHARS_MAX} characters")));
        }
        let days = args.number("days", 1, DAYS_MAX)?.unwrap_or(CA_DAYS);
        Ok(CaArgs { dir: dir(args), name, days })
    }
}

impl NamedArgs {
    /// With options of `cert gateway`, where the command has them.
    pub(super) fn parse(args: &mut Parsed, purpose: Option<Purpose>) -> Result<NamedArgs, CliError> {
        let name = args.positional("NAME")?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(fits) || name.starts_with('.') {
            return Err(args.usage(format!("NAME has 1 to {NAME_CHARS_MAX} letters, digits, '.', '_' or '-'")));
        }
        if purpose.is_some() && matches!(name.as_str(), "ca" | "crl") {
            return Err(args.usage("NAME: these are files of the CA itself"));
        }
        let days = match purpose {
            Some(_) => args.number("days", 1, DAYS_MAX)?,
            None => None,
        };
        let hosts = if purpose == Some(Purpose::Gateway) { args.texts("host")? } else { Vec::new() };
        let default = if purpose == Some(Purpose::Gateway) { GATEWAY_DAYS } else { DEVICE_DAYS };
        Ok(NamedArgs { dir: dir(args), name, days: days.unwrap_or(default), hosts })
    }
}

impl ShowArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ShowArgs, CliError> {
        let file = args.positional_path("FILE").ok_or_else(|| args.usage("missing argument FILE"))?;
        Ok(ShowArgs { file })
    }
}

fn dir(args: &mut Parsed) -> PathBuf {
    args.path("dir").unwrap_or_else(|| ".".into())
}

/// Runs `cert ca`.
///
/// # Errors
/// There is a CA already, or files can't be written.
pub(super) fn ca(args: &CaArgs) -> Result<(), CliError> {
    let (certificate, key) = (args.dir.join("ca.pem"), args.dir.join("ca.key"));
    for path in [&certificate, &key] {
        if path.exists() {
            let why = "there is a CA already: what it issued would be worth nothing with another; choose another --dir";
            return Err(CliError::failed(path.display(), why));
        }
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&args.dir).map_err(|error| wrong(&args.dir, error))?;
    let order = order(&args.name, Vec::new(), Purpose::Authority, (args.days, i64::MAX));
    let own = Key::generate().map_err(CliError::Failed)?;
    let der = authority(&order, &own).map_err(CliError::Failed)?;
    write(&key, &own.to_pem(), 0o600)?;
    write(&certificate, &pem("CERTIFICATE", &der), 0o644)?;
    let issuer = Issuer::new(&der, own).map_err(CliError::Failed)?;
    write_list(&args.dir, &issuer, &[], 1)?;
    term::print(&format!(
        "{}  the CA, for everyone who connects\n{}  its key: keep it safe, off the gateways\n{}  what it revoked: nothing\n\
         valid until {}\n",
        certificate.display(),
        key.display(),
        args.dir.join("crl.pem").display(),
        format_time(order.not_after_ms)
    ))
}

/// Runs `cert gateway` and `cert device`.
///
/// # Errors
/// There is no CA in the directory, or files can't be written.
pub(super) fn issue(args: &NamedArgs, purpose: Purpose) -> Result<(), CliError> {
    let issuer = issuer(&args.dir)?;
    let hosts = if purpose == Purpose::Gateway { hosts(args)? } else { Vec::new() };
    let order = order(&args.name, hosts, purpose, (args.days, issuer.certificate().not_after_ms));
    let key = Key::generate().map_err(CliError::Failed)?;
    let der = issuer.issue(&order, &key).map_err(CliError::Failed)?;
    let path = |extension: &str| args.dir.join(format!("{}.{extension}", args.name));
    write(&path("key"), &key.to_pem(), 0o600)?;
    write(&path("pem"), &pem("CERTIFICATE", &der), 0o644)?;
    let names: Vec<String> = order.hosts.iter().map(ToString::to_string).collect();
    let of = if names.is_empty() { String::new() } else { format!(", for {}", names.join(", ")) };
    term::print(&format!(
        "{}  the certificate of CN={}{of}\n{}  its key\nvalid until {}\n",
        path("pem").display(),
        args.name,
        path("key").display(),
        format_time(order.not_after_ms)
    ))
}

/// Runs `cert revoke`.
///
/// # Errors
/// There is no CA, or no such certificate of its, or files can't be written.
pub(super) fn revoke(args: &NamedArgs) -> Result<(), CliError> {
    let issuer = issuer(&args.dir)?;
    let path = args.dir.join(format!("{}.pem", args.name));
    let certificates = certificates(&path)?;
    let certificate = certificates.first().ok_or_else(|| wrong(&path, "holds no certificate"))?;
    if certificate.issuer != issuer.certificate().names.subject {
        return Err(wrong(&path, format!("was issued by {}, not by this CA", certificate.issuer)));
    }
    let list = args.dir.join("crl.pem");
    let (mut revoked, number) = match fs::read(&list) {
        Ok(bytes) => CertificateRevocationListDer::from_pem_slice(&bytes)
            .ok()
            .and_then(|list| Revoked::read(&list))
            .ok_or_else(|| wrong(&list, "can't be read: move it away, and revoke all again that was in it"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), 0),
        Err(error) => return Err(wrong(&list, error)),
    };
    let entry = Revoked::new(&certificate.serial, when::now_ms());
    if revoked.iter().any(|other| other.is_of(&entry)) {
        return term::print(&format!("{} is revoked already\n", certificate.names.subject));
    }
    revoked.push(entry);
    write_list(&args.dir, &issuer, &revoked, number + 1)?;
    term::print(&format!(
        "{} is revoked; {} has {} now: bring it to the gateways\n",
        certificate.names.subject,
        list.display(),
        revoked.len()
    ))
}

/// Runs `cert show`.
///
/// # Errors
/// The file can't be read.
pub(super) fn show(args: &ShowArgs) -> Result<(), CliError> {
    let mut out = String::new();
    for certificate in certificates(&args.file)? {
        let names = &certificate.names;
        let all = [&names.dns, &names.addresses, &names.emails, &names.uris].into_iter().flatten();
        let all: Vec<&str> = all.map(String::as_str).collect();
        let kind = if certificate.is_authority { " (a CA)" } else { "" };
        out.push_str(&format!("owner    {}{kind}\n", names.subject));
        if !all.is_empty() {
            out.push_str(&format!("for      {}\n", all.join(", ")));
        }
        out.push_str(&format!("issuer   {}\nserial   {}\n", certificate.issuer, certificate.serial));
        let (from, until) = (format_time(certificate.not_before_ms), format_time(certificate.not_after_ms));
        let days = (certificate.not_after_ms - when::now_ms()).div_euclid(MS_PER_DAY);
        let left = if days < 0 { "it has expired".to_owned() } else { format!("{days} days left") };
        out.push_str(&format!("valid    {from} to {until}, {left}\n"));
    }
    term::print(&out)
}

fn wrong(path: &Path, why: impl std::fmt::Display) -> CliError {
    CliError::failed(path.display(), why)
}

/// Valid for so many days, but not beyond the second limit (Unix ms).
pub(super) fn order(name: &str, hosts: Vec<HostName>, purpose: Purpose, (days, until_ms): (u64, i64)) -> Order {
    // A clock in the past would make certificates that have expired before anyone uses them.
    let now_ms = when::now_ms().max(WALL_FLOOR_MS);
    let days = i64::try_from(days).unwrap_or(i64::MAX / MS_PER_DAY);
    Order {
        common_name: name.to_owned(),
        hosts,
        purpose,
        not_before_ms: now_ms - CLOCK_SLACK_MS,
        not_after_ms: now_ms.saturating_add(days.saturating_mul(MS_PER_DAY)).min(until_ms),
    }
}

/// Those that were named, the gateway's own name, and what this machine calls itself.
fn hosts(args: &NamedArgs) -> Result<Vec<HostName>, CliError> {
    let mut hosts: Vec<HostName> = Vec::new();
    let own = ["localhost", "127.0.0.1", "::1"].into_iter();
    for host in args.hosts.iter().map(String::as_str).chain([args.name.as_str()]).chain(own) {
        let is_dns = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '*');
        let found = match host.parse::<IpAddr>() {
            Ok(address) => HostName::Ip(address),
            Err(_) if !host.is_empty() && host.len() < 254 && host.chars().all(is_dns) => {
                HostName::Dns(host.to_owned())
            }
            // The gateway's name need not be one of a host.
            Err(_) if host == args.name => continue,
            Err(_) => {
                return Err(CliError::usage(GATEWAY.name, format!("--host {host:?}: is no name or address of a host")));
            }
        };
        if !hosts.contains(&found) {
            hosts.push(found);
        }
    }
    Ok(hosts)
}

fn issuer(dir: &Path) -> Result<Issuer, CliError> {
    let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    if !certificate.exists() {
        return Err(wrong(&certificate, "there is no CA here; `brooklet cert ca` makes one"));
    }
    let der = CertificateDer::from_pem_file(&certificate).map_err(|error| wrong(&certificate, error))?;
    let private = tls::private_key(&key).map_err(CliError::Failed)?;
    let private = Key::from_der(&private).map_err(|why| wrong(&key, why))?;
    Issuer::new(&der, private).map_err(|why| wrong(&certificate, why))
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, CliError> {
    let bytes = fs::read(path).map_err(|error| wrong(path, error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| wrong(path, error))?;
    let read: Option<Vec<_>> = found.iter().map(|der| Certificate::parse(der)).collect();
    match read {
        Some(read) if !read.is_empty() => Ok(read),
        _ => Err(wrong(path, "holds no certificate in PEM that can be read")),
    }
}

fn write_list(dir: &Path, issuer: &Issuer, revoked: &[Revoked], number: u64) -> Result<(), CliError> {
    let now_ms = when::now_ms().max(WALL_FLOOR_MS) - CLOCK_SLACK_MS;
    let list = issuer.revoke(revoked, number, (now_ms, issuer.certificate().not_after_ms)).map_err(CliError::Failed)?;
    write(&dir.join("crl.pem"), &pem("X509 CRL", &list), 0o644)
}

/// Writes a file whole, or not at all.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), CliError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let put = || {
        // One that was left half way may have another mode.
        let _ = fs::remove_file(&fresh);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    put().map_err(|error| wrong(path, error))
}
