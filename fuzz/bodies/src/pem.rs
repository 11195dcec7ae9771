//! Secret keys in PEM: what is read is written in one form, and that form is the same key.

use p2p_identity::KeyPair;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key_pair) = KeyPair::from_pkcs8_pem(text) {
        let written = key_pair.to_pkcs8_pem();
        let again = KeyPair::from_pkcs8_pem(&written).expect("its own form is a key");
        assert_eq!(again.peer_id(), key_pair.peer_id());
        assert_eq!(again.to_pkcs8_pem(), written);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    // The second is version 1 of the structure, without the public key (RFC 8410 §10.3).
    let texts = [
        KeyPair::from_seed([7; 32]).to_pkcs8_pem(),
        "-----BEGIN PRIVATE KEY-----\n\
         MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
         -----END PRIVATE KEY-----\n"
            .into(),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n".into(),
    ];
    texts.map(String::into_bytes).into()
}
