"""The paper's suites from end to end in minutes: tiny datasets in the official layouts, random weights in the official files."""
