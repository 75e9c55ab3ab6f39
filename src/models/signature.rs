//! Who stands for a model file: an ed25519 signature (RFC 8032) of its bytes, in a file of its own beside it.
//!
//! Keys are PEM files as OpenSSL has them (PKCS #8, SubjectPublicKeyInfo), the signature is its 64 bytes, so that each can be made and
//! checked without this program:
//! `openssl pkeyutl -verify -pubin -inkey KEY.pub.pem -rawin -in MODEL -sigfile MODEL.sig`.

use super::Model;
use crate::text::Shown;
use crate::{Error, Result, files};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand::TryRng;
use rand::rngs::SysRng;
use std::path::{Path, PathBuf};

/// No key and no signature is larger.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The file that holds the signature of `model`: its name with `.sig` after it.
pub fn signature_path(model: &Path) -> PathBuf {
    let mut name = model.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Makes a pair of keys, from the operating system's random numbers: `NAME.pem`, which signs and which nobody else may read, and
/// `NAME.pub.pem`, which verifies.
///
/// Where the private key is there and the public one is not, as after a kill, the public one is made of it.
///
/// # Errors
/// Both files exist, or the public one; a file that cannot be written, and then neither is left.
pub fn keygen(name: &Path) -> Result<[PathBuf; 2]> {
    let with = |extension: &str| {
        let mut path = name.as_os_str().to_owned();
        path.push(extension);
        PathBuf::from(path)
    };
    let (private, public) = (with(".pem"), with(".pub.pem"));
    let failed = |what: String| Error::failed(what, "try again, or make the keys with `openssl genpkey -algorithm ed25519`");
    let write_public = |key: &SigningKey| {
        let pem = key.verifying_key().to_public_key_pem(LineEnding::LF);
        let pem = pem.map_err(|error| failed(format!("the key cannot be written ({error})")))?;
        files::write(&public, pem.as_bytes())
    };
    if private.exists() && !public.exists() {
        write_public(&private_key(&private)?)?;
        return Ok([private, public]);
    }
    for path in [&private, &public] {
        if path.exists() {
            return Err(Error::file(path, "exists already", "choose another name: what it has signed needs it"));
        }
    }
    let mut secret = [0; 32];
    SysRng.try_fill_bytes(&mut secret).map_err(|error| failed(format!("the system gives no random numbers ({error})")))?;
    let key = SigningKey::from_bytes(&secret);
    // Without the public key in it, which OpenSSL does not take.
    let private_pem = KeypairBytes { secret_key: secret, public_key: None }.to_pkcs8_pem(LineEnding::LF);
    let private_pem = private_pem.map_err(|error| failed(format!("the key cannot be written ({error})")))?;
    files::write_secret(&private, private_pem.as_bytes())?;
    write_public(&key).inspect_err(|_| {
        // A private key that nobody can check would be in the way of the next try; the first error is the one to report.
        let _ = std::fs::remove_file(&private);
    })?;
    Ok([private, public])
}

/// Signs a model file, after it was checked as for use, and writes the signature beside it.
///
/// # Errors
/// A model that cannot be used, a key that is none, a file that cannot be written.
pub fn sign(model: &Path, key: &Path) -> Result<PathBuf> {
    refuse_readable_by_others(key)?;
    let key = private_key(key)?;
    let bytes = Model::read(model)?;
    let signature = key.sign(&bytes);
    Model::from_bytes(model, bytes)?;
    let path = signature_path(model);
    files::write(&path, &signature.to_bytes())?;
    Ok(path)
}

fn private_key(path: &Path) -> Result<SigningKey> {
    SigningKey::from_pkcs8_pem(&text(path)?).map_err(|_| {
        Error::file(path, "is not a private ed25519 key in PEM form", "give the one that `osteon model keygen` made")
    })
}

/// Refuses a secret key that others than its owner can read.
fn refuse_readable_by_others(key: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(key).map_err(|error| Error::io(key, "read", &error))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let problem = format!("is a secret key, and others than its owner have rights to it (mode {mode:o})");
            let name = key.shown();
            // What quotes as a shell does not: there the name is left to the user.
            let name =
                if name.contains(|letter: char| !letter.is_alphanumeric() && !"/._-".contains(letter)) { "KEY" } else { &name };
            return Err(Error::file(key, problem, format!("take them away with `chmod 600 {name}`")));
        }
    }
    Ok(())
}

/// Checks the signature beside a model file of these `bytes` with a public key.
///
/// # Errors
/// There is none, it is not this key's, or not of these bytes.
pub fn verify(model: &Path, bytes: &[u8], key: &Path) -> Result<()> {
    let pem = text(key)?;
    let public = VerifyingKey::from_public_key_pem(&pem)
        .map_err(|_| Error::file(key, "is not a public ed25519 key in PEM form", "give the signer's .pub.pem"))?;
    let path = signature_path(model);
    if !path.is_file() {
        let problem = format!("is not signed: there is no {}", path.shown());
        return Err(Error::file(model, problem, "ask its maker for the signature"));
    }
    let signature = Signature::from_slice(&files::read_at_most(&path, MAX_FILE_BYTES)?)
        .map_err(|_| Error::file(&path, "is not an ed25519 signature (64 bytes)", "ask the maker of the model for it"))?;
    public.verify_strict(bytes, &signature).map_err(|_| {
        let problem = format!("is not what the owner of {} signed", key.shown());
        Error::file(model, problem, "do not use it: get model and signature again, or the right key")
    })
}

fn text(key: &Path) -> Result<String> {
    let bytes = files::read_at_most(key, MAX_FILE_BYTES)?;
    String::from_utf8(bytes)
        .map_err(|_| Error::file(key, "is not a key in PEM form", "give a key that `osteon model keygen` made"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::{model, saved};

    #[test]
    fn a_signature_holds_for_one_file_and_one_key() {
        let (folder, path) = saved();
        let [private, public] = keygen(&folder.path().join("ours")).unwrap();
        let [_, other] = keygen(&folder.path().join("theirs")).unwrap();
        let load =
            |key: &Path| Model::load_signed(&path, key).map(|model| model.weights_hash()).map_err(|error| error.to_string());
        assert!(load(&public).unwrap_err().contains("is not signed: there is no"));
        sign(&path, &private).unwrap();
        assert_eq!(load(&public).unwrap(), model(4).weights_hash());
        assert!(load(&other).unwrap_err().contains("is not what the owner of"));
        assert!(load(&private).unwrap_err().contains("is not a public ed25519 key"));
        let public_again = folder.path().join("again.pem");
        files::write_secret(&public_again, &std::fs::read(&public).unwrap()).unwrap();
        assert!(sign(&path, &public_again).unwrap_err().to_string().contains("is not a private ed25519 key"));
        assert!(keygen(&folder.path().join("ours")).unwrap_err().to_string().contains("exists already"));
        // Every bit counts, also those that change nothing: eight spaces more behind the header.
        let bytes = std::fs::read(&path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let (header, tensors) = bytes[8..].split_at(length as usize);
        std::fs::write(&path, [&(length + 8).to_le_bytes()[..], header, b"        ", tensors].concat()).unwrap();
        assert!(Model::load(&path).is_ok());
        assert!(load(&public).unwrap_err().contains("is not what the owner of"));
        std::fs::write(&path, &bytes).unwrap();
        let signed = std::fs::read(signature_path(&path)).unwrap();
        std::fs::write(signature_path(&path), &signed[..63]).unwrap();
        assert!(load(&public).unwrap_err().contains("is not an ed25519 signature"));
        std::fs::write(signature_path(&path), &signed).unwrap();
        assert!(load(&public).is_ok());
        // A public key that cannot be written leaves no private one in the way; one that a kill has prevented is made up for.
        let long = folder.path().join("n".repeat(250)); // with `.pub.pem` longer than a name can be
        assert!(keygen(&long).unwrap_err().to_string().contains(".pub.pem: cannot be written"));
        assert!(!folder.path().join("n".repeat(250) + ".pem").exists());
        let third = folder.path().join("third");
        let [_, key] = keygen(&third).unwrap();
        let bytes = std::fs::read(&key).unwrap();
        std::fs::remove_file(&key).unwrap();
        keygen(&third).unwrap();
        assert_eq!(std::fs::read(&key).unwrap(), bytes);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let allow = |mode| std::fs::set_permissions(&private, std::fs::Permissions::from_mode(mode)).unwrap();
            for mode in [0o644, 0o640, 0o602] {
                allow(mode);
                let said = sign(&path, &private).unwrap_err().to_string();
                assert!(said.contains("others") && said.contains("chmod 600 "), "{said}");
            }
            allow(0o600);
            sign(&path, &private).unwrap();
            assert_eq!(std::fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    /// RFC 8032, section 7.1, test 3, by the public key in its PEM form.
    #[test]
    fn signatures_are_those_of_rfc_8032() {
        let folder = tempfile::tempdir().unwrap();
        let [model, key] = ["model", "key.pem"].map(|name| folder.path().join(name));
        std::fs::write(
            &key,
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU=\n-----END PUBLIC KEY-----\n",
        )
        .unwrap();
        let signature = "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";
        let bytes: Vec<u8> = (0..64).map(|i| u8::from_str_radix(&signature[2 * i..2 * i + 2], 16).unwrap()).collect();
        std::fs::write(signature_path(&model), bytes).unwrap();
        assert!(verify(&model, &[0xaf, 0x82], &key).is_ok());
        assert!(verify(&model, &[0xaf, 0x83], &key).is_err());
    }
}
