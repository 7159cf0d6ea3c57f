module v1-sample-oras

go 1.26

require github.com/ratify-project/ratify v1.4.0
