//! Names and addresses: server `k` is `nodek` and 10.0.0.k+1, client `k` is node 100 + k, `clientk` and 10.0.1.k+1.

use std::io;

/// Client `n` is node `FIRST_CLIENT + n`.
pub(super) const FIRST_CLIENT: usize = 100;

/// The node and port that `address` means on node `here`.
pub(super) fn resolve(here: usize, address: &str) -> io::Result<(usize, u16)> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("{address}: no such name"));
    let (host, port) = address.rsplit_once(':').ok_or_else(unknown)?;
    let node = host_node(here, host).ok_or_else(unknown)?;
    Ok((node, port.parse().map_err(|_| unknown())?))
}

fn host_node(here: usize, host: &str) -> Option<usize> {
    if matches!(host, "0.0.0.0" | "127.0.0.1" | "localhost" | "[::]" | "[::1]") {
        return Some(here);
    }
    let numbered = |prefix: &str| host.strip_prefix(prefix)?.parse::<usize>().ok();
    let server = numbered("node").or_else(|| numbered("10.0.0.")?.checked_sub(1));
    let client = || numbered("client").or_else(|| numbered("10.0.1.")?.checked_sub(1));
    server.or_else(|| Some(FIRST_CLIENT + client()?))
}

/// The name of `node`, for people.
pub(super) fn name(node: usize) -> String {
    if node < FIRST_CLIENT { format!("node{node}") } else { format!("client{}", node - FIRST_CLIENT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found() {
        for (address, node) in
            [("node3:80", 3), ("10.0.0.4:80", 3), ("client2:80", 102), ("10.0.1.3:80", 102), ("0.0.0.0:80", 7)]
        {
            assert_eq!(resolve(7, address).unwrap(), (node, 80), "{address}");
        }
        for address in ["node:80", "node3", "elsewhere:80", "node3:x", "10.0.0.0:1"] {
            assert_eq!(resolve(7, address).unwrap_err().kind(), io::ErrorKind::NotFound, "{address}");
        }
        assert_eq!((name(3), name(102)), ("node3".into(), "client2".into()));
    }
}
