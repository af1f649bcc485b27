"""Lightning callbacks, one to a file; conf/callbacks chooses among them."""
