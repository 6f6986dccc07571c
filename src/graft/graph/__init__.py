"""The formula language: parser, variables, axes and the factor graph. It describes and checks; it never infers."""
