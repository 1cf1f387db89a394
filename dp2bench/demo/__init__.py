"""The demonstration: a page on this machine that shows who is found in a picture and replaces them."""
