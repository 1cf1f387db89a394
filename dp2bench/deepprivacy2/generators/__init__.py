"""The networks of DeepPrivacy2 and DeepPrivacy: generators and discriminators, their layers, and their files."""
