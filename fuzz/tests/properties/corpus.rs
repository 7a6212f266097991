//! What lies in `corpus/`: seeds for libFuzzer, and inputs that broke a property once.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use weir_fuzz::ALL;

use super::json::cases;

#[test]
fn every_seed_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in ALL {
        let seeds: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().collect();
        assert!(!seeds.is_empty(), "{name}");
        for seed in seeds {
            let seed = seed.unwrap().path();
            println!("{}", seed.display());
            run(&fs::read(seed).unwrap());
        }
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn any_bytes_hold(data in prop::collection::vec(any::<u8>(), 0..300)) {
        for (_, run) in ALL {
            run(&data);
        }
    }
}
