//! Peers that lie. (Written with `shoal_tests::hostile`.)
