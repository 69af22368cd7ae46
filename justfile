# Thin names over commands that anyone can type.

compose := `docker compose version >/dev/null 2>&1 && echo "docker compose" || echo docker-compose`

# What there is
default:
    @just --list --unsorted

# Formatting and lints, as CI has them
check:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy --workspace --all-targets --features matrixkv-sim/planted -- -D warnings

# All tests, simulations included
test:
    cargo test

# One seed: just sim 7
sim seed *more:
    cargo run --release -p matrixkv-sim -- run --seed {{seed}} {{more}}

# Many seeds: just sweep 0..1000
sweep seeds *more:
    cargo run --release -p matrixkv-sim -- sweep --seeds {{seeds}} {{more}}

# Seeds in two processes each, traces compared: just twice 0..20
twice seeds *more:
    cargo run --release -p matrixkv-sim -- twice --seeds {{seeds}} {{more}}

# Bugs on purpose, one at a time, and which seed finds each
bite *more:
    cargo run --release -p matrixkv-sim --features planted -- bite {{more}}

# Accept what the stories say now; read the diff before it is committed
bless:
    BLESS=1 cargo test --test stories

# A cluster of four nodes on this machine, until Ctrl-C
demo:
    cargo run --release -- demo

# Debian's UnicodeData.txt through a cluster whose leader is killed meanwhile
unicode:
    cargo build --release
    bash .ci/unicode.sh

# The same file into some thousand shards, a node killed meanwhile; CALM=60 is shorter
shards:
    cargo build --release
    bash .ci/shards.sh

# What README.md says of many shards, measured here
figures:
    cargo build --release
    bash .ci/figures.sh

# The image `matrixkv`
docker:
    bash docker/build.sh

# The cluster in containers
up: docker
    {{compose}} down
    {{compose}} up -d

# Stop it; the volumes stay
down:
    {{compose}} down

# The first story, on containers of its own
story:
    bash docker/story.sh

# Everything, as CI does it
ci:
    bash .ci/run
